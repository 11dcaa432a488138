//! Clocks: a stopped one does not count.

use std::thread;
use std::time::{Duration, Instant};

use super::Case;
use super::guest::{BARE, Outcome, same};
use crate::x86::VcpuState;
use crate::{Hypervisor, VcpuId, Vm};

/// IA32_TIME_STAMP_COUNTER (Intel SDM vol. 4, table 2-2).
const TSC: u32 = 0x10;

pub(super) fn cases<H: Hypervisor>() -> Vec<Case<H>> {
    vec![
        Case {
            name: "a_clock_that_was_not_stopped_can_be_started",
            needs: &[],
            test: started::<H>,
        },
        Case {
            name: "time_stamp_counters_stop_together_with_the_clock",
            needs: &[],
            test: stopped::<H>,
        },
    ]
}

fn started<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let vm = hypervisor.create_vm(&BARE)?;
    let _vcpu = vm.create_vcpu(VcpuId(0))?;
    Ok(vm.clock().start()?)
}

/// Both counters are read before and after a gap; how long the reading takes itself does not matter.
fn stopped<H: Hypervisor>(hypervisor: &H) -> Outcome {
    const GAP: Duration = Duration::from_millis(100);
    let vm = hypervisor.create_vm(&BARE)?;
    let mut vcpus = [vm.create_vcpu(VcpuId(0))?, vm.create_vcpu(VcpuId(1))?];
    let clock = vm.clock();
    if !clock.stops_tsc() {
        return Ok(());
    }
    let read = |vcpu: &mut <H::Vm as Vm>::Vcpu| {
        let msrs = vcpu.msrs(&[TSC])?;
        crate::Result::Ok(msrs.first().map_or(0, |msr| msr.value))
    };
    let goes_on = |vcpu: &mut <H::Vm as Vm>::Vcpu| {
        let khz = u128::from(vcpu.tsc_khz()?);
        let whole = Instant::now();
        let before = read(vcpu)?;
        clock.stop()?;
        let gap = Instant::now();
        thread::sleep(GAP);
        let gap = gap.elapsed();
        clock.start()?;
        let counted = u128::from(read(vcpu)?.wrapping_sub(before));
        // Half of the gap for what a host's clocks differ by.
        let most = (whole.elapsed() - gap / 2).as_micros() * khz / 1000;
        crate::Result::Ok(counted > most)
    };
    for vcpu in &mut vcpus {
        // One that is not stopped goes on in each try; a host whose CPUs disagree may show it in one.
        let mut tries = 0;
        while goes_on(vcpu)? {
            tries += 1;
            same("tries in which it stood still, of 5", tries < 5, true)?;
        }
    }
    Ok(())
}
