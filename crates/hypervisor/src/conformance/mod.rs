//! One suite of cases that every back end runs: what the traits promise, seen from the guest.
//!
//! A case makes a VM with a guest of a few instructions and looks at what comes out. Nothing
//! panics: [`run`] answers with a [`Report`], and each case ends by itself after seconds, as a
//! watchdog kicks it.
//!
//! ```
//! use vmmkit_hypervisor::conformance;
//! use vmmkit_hypervisor::fake::FakeHypervisor;
//!
//! let report = conformance::run(&FakeHypervisor::new(), &[]);
//! assert_eq!(report.failures().count(), 0, "{report}");
//! ```

mod accesses;
mod clock;
mod guest;
mod interrupts;
mod kicks;
mod memory;
mod messages;
mod renewal;
mod report;
mod rom;
mod saved;
mod split;
mod state;
mod timer;

pub use report::{Failure, Report, Verdict};

use crate::Hypervisor;

/// A requirement of a case beyond the traits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Need {
    /// It executes guest code.
    Execution,
    /// It emulates the interrupt controllers.
    Irqchip,
    /// It takes interrupts from an eventfd.
    Irqfd,
    /// It signals an eventfd on a guest's write.
    Ioeventfd,
    /// It emulates local APICs alone where that is asked for.
    SplitIrqchip,
    /// It has memory that the guest cannot write.
    ReadOnlyMemory,
    /// It saves and restores vCPUs and VMs.
    SavedState,
}

/// One case.
#[non_exhaustive]
pub struct Case<H> {
    /// The promise, as a sentence in snake case.
    pub name: &'static str,
    /// Its requirements; without them the case does not apply.
    pub needs: &'static [Need],
    /// Runs it.
    pub test: fn(&H) -> Result<(), Failure>,
}

impl<H> std::fmt::Debug for Case<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Case")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// All cases.
pub fn cases<H: Hypervisor>() -> Vec<Case<H>> {
    let mut all = accesses::cases();
    all.extend(kicks::cases());
    all.extend(state::cases());
    all.extend(memory::cases());
    all.extend(interrupts::cases());
    all.extend(messages::cases());
    all.extend(renewal::cases());
    all.extend(rom::cases());
    all.extend(split::cases());
    all.extend(timer::cases());
    all.extend(clock::cases());
    all.extend(saved::cases());
    all
}

/// Runs all cases on `hypervisor`. `abilities` names what the back end's
/// [`Capabilities`](crate::Capabilities) do not: pass [`Need::Execution`] for a real one.
pub fn run<H: Hypervisor>(hypervisor: &H, abilities: &[Need]) -> Report {
    run_telling(hypervisor, abilities, |_, _| {})
}

/// [`run`], which tells `each` a case's name and verdict as soon as it ends.
pub fn run_telling<H: Hypervisor>(
    hypervisor: &H,
    abilities: &[Need],
    each: impl FnMut(&str, &Verdict),
) -> Report {
    run_chosen(hypervisor, abilities, |_| true, each)
}

/// [`run_telling`], of the cases that `is_wanted` by their names.
pub fn run_chosen<H: Hypervisor>(
    hypervisor: &H,
    abilities: &[Need],
    is_wanted: impl Fn(&str) -> bool,
    mut each: impl FnMut(&str, &Verdict),
) -> Report {
    let mut report = Report::new(hypervisor.name());
    for case in cases::<H>().into_iter().filter(|case| is_wanted(case.name)) {
        let missing = case
            .needs
            .iter()
            .find(|need| !has(hypervisor, abilities, **need));
        let verdict = match missing {
            Some(need) => Verdict::NotApplicable(*need),
            None => match (case.test)(hypervisor) {
                Ok(()) => Verdict::Passed,
                Err(failure) => Verdict::Failed(failure),
            },
        };
        each(case.name, &verdict);
        report.add(case.name, verdict);
    }
    report
}

fn has(hypervisor: &impl Hypervisor, abilities: &[Need], need: Need) -> bool {
    let capabilities = hypervisor.capabilities();
    match need {
        Need::Execution => abilities.contains(&Need::Execution),
        Need::Irqchip => capabilities.irqchip,
        Need::Irqfd => capabilities.irqfd,
        Need::Ioeventfd => capabilities.ioeventfd,
        Need::SplitIrqchip => capabilities.split_irqchip,
        Need::ReadOnlyMemory => capabilities.read_only_memory,
        Need::SavedState => capabilities.saved_state,
    }
}
