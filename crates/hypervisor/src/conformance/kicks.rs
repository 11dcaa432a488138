//! Kicks: never lost, from any thread, at any time.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::guest::{BARE, Guest, Outcome, same};
use super::{Case, Need};
use crate::{Hypervisor, PortAccess, Vcpu, VcpuExit, VcpuId, Vm, Width};

pub(super) fn cases<H: Hypervisor>() -> Vec<Case<H>> {
    let executing = |name, test| Case {
        name,
        needs: &[Need::Execution],
        test,
    };
    vec![
        Case {
            name: "a_kick_before_the_run_ends_it",
            needs: &[],
            test: before::<H>,
        },
        Case {
            name: "a_kick_after_the_vcpu_is_gone_is_harmless",
            needs: &[],
            test: gone::<H>,
        },
        executing("a_kick_ends_a_run_that_computes", during::<H>),
        executing("many_kicks_end_one_run_each", many::<H>),
        executing("a_kick_between_runs_ends_the_next", between::<H>),
        executing("kicks_from_two_threads_lose_no_access", hammer::<H>),
        executing("a_kick_reaches_a_vcpu_that_changed_threads", moved::<H>),
    ]
}

/// `jmp $`
const SPIN: [u8; 2] = [0xeb, 0xfe];

fn before<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let vm = hypervisor.create_vm(&BARE)?;
    let mut vcpu = vm.create_vcpu(VcpuId(0))?;
    vcpu.kicker().kick();
    same("exit", vcpu.run()?, VcpuExit::Interrupted)
}

fn gone<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let vm = hypervisor.create_vm(&BARE)?;
    let mut vcpu = vm.create_vcpu(VcpuId(0))?;
    let kicker = vcpu.kicker();
    kicker.kick();
    same("exit", vcpu.run()?, VcpuExit::Interrupted)?;
    drop(vcpu);
    drop(vm);
    kicker.kick();
    kicker.kick();
    Ok(())
}

fn during<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let mut guest = Guest::real(hypervisor, &BARE, 0, &SPIN)?;
    let kicker = guest.vcpu.kicker();
    thread::scope(|scope| {
        scope.spawn(move || {
            thread::sleep(Duration::from_millis(20));
            kicker.kick();
        });
        same("exit", guest.vcpu.run()?, VcpuExit::Interrupted)
    })?;
    guest.alive()
}

/// Each kick is sent after the run that the last one ended, at every phase of entering the guest.
/// A host whose threads wait long for a processor sends as many as it can in a few seconds.
fn many<H: Hypervisor>(hypervisor: &H) -> Outcome {
    const KICKS: usize = 3000;
    const LONGEST: Duration = Duration::from_secs(5);
    let started = Instant::now();
    let mut guest = Guest::real(hypervisor, &BARE, 0, &SPIN)?;
    let kicker = guest.vcpu.kicker();
    let seen = AtomicUsize::new(0);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for sent in 0..KICKS {
                while seen.load(Ordering::SeqCst) < sent {
                    if over.load(Ordering::SeqCst) {
                        return;
                    }
                    thread::yield_now();
                }
                for _ in 0..(sent % 64) * 16 {
                    std::hint::spin_loop();
                }
                kicker.kick();
            }
        });
        let mut outcome = Ok(());
        // The signal of a kick may end one more run than the kick: more runs than kicks are fine,
        // and a lost kick makes the watchdog bark.
        while outcome.is_ok() && seen.load(Ordering::SeqCst) < KICKS && started.elapsed() < LONGEST
        {
            outcome = match guest.vcpu.run() {
                Ok(exit) => same("exit", exit, VcpuExit::Interrupted).and(guest.alive()),
                Err(error) => Err(error.into()),
            };
            seen.fetch_add(1, Ordering::SeqCst);
        }
        over.store(true, Ordering::SeqCst);
        outcome
    })
}

/// Counts in AL, and writes each count to port 0x10.
const COUNT: [u8; 8] = [
    0xba, 0x10, 0x00, // mov dx, 0x10
    0xee, // out dx, al
    0xfe, 0xc0, // inc al
    0xeb, 0xfb, // jmp to the out
];

fn between<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let mut guest = Guest::real(hypervisor, &BARE, 0, &COUNT)?;
    for count in 0..100_u8 {
        let access = PortAccess {
            port: 0x10,
            width: Width::Byte,
            count: 1,
        };
        guest.expect(VcpuExit::PortWrite(access))?;
        same("count", guest.vcpu.data().to_vec(), vec![count])?;
        guest.vcpu.kicker().kick();
        same("exit", guest.vcpu.run()?, VcpuExit::Interrupted)?;
    }
    Ok(())
}

fn hammer<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let mut guest = Guest::real(hypervisor, &BARE, 0, &COUNT)?;
    let over = AtomicBool::new(false);
    let kickers = [guest.vcpu.kicker(), guest.vcpu.kicker()];
    let over = &over;
    thread::scope(|scope| {
        for kicker in kickers {
            scope.spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    kicker.kick();
                    thread::sleep(Duration::from_micros(50));
                }
            });
        }
        let outcome = (0..1000_u32).try_for_each(|count| {
            let access = PortAccess {
                port: 0x10,
                width: Width::Byte,
                count: 1,
            };
            guest.expect(VcpuExit::PortWrite(access))?;
            same(
                "count",
                guest.vcpu.data().to_vec(),
                vec![(count % 256) as u8],
            )
        });
        over.store(true, Ordering::SeqCst);
        outcome
    })
}

fn moved<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let mut guest = Guest::real(hypervisor, &BARE, 0, &SPIN)?;
    for _ in 0..2 {
        let kicker = guest.vcpu.kicker();
        let vcpu = &mut guest.vcpu;
        thread::scope(|scope| {
            let runner = scope.spawn(|| vcpu.run());
            thread::sleep(Duration::from_millis(10));
            kicker.kick();
            match runner.join() {
                Ok(exit) => same("exit", exit?, VcpuExit::Interrupted),
                Err(_) => same("thread of the vCPU", "panicked", "ended"),
            }
        })?;
        guest.alive()?;
    }
    Ok(())
}
