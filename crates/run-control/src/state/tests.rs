use super::*;

struct Nobody;

impl Kick for Nobody {
    fn kick(&self) {}
}

/// A machine of two vCPUs that runs.
fn running() -> State {
    let mut state = State::new(2);
    state.start(vec![Arc::new(Nobody), Arc::new(Nobody)]);
    assert_eq!(state.signal(), RUN);
    state
}

fn vcpus() -> Option<Vcpus> {
    let body = || -> VcpuBody { Box::new(|_| None) };
    Some(Vcpus {
        bodies: vec![body(), body()],
        kickers: vec![Arc::new(Nobody), Arc::new(Nobody)],
    })
}

const BOTH: [VcpuId; 2] = [VcpuId(0), VcpuId(1)];
const PAUSES: (OnReboot, OnCrash) = (OnReboot::Reboot, OnCrash::Pause);

#[test]
fn a_pause_amid_a_reset_is_decided_by_the_new_vcpus() {
    let mut state = running();
    for vcpu in BOTH {
        state.park(vcpu);
    }
    let request = state.request_pause().unwrap();
    assert!(state.is_pause_decided(request));
    assert_eq!(state.reset(ResetCause::Host), Some(true));
    assert_eq!(state.signal(), RESET);
    assert!(
        !state.is_pause_decided(request),
        "the old ones are on their way"
    );
    assert!(!state.arrive(VcpuId(0)));
    assert!(state.arrive(VcpuId(1)));
    state.begin(&mut vcpus());
    assert_eq!(state.signal(), PAUSE);
    for vcpu in BOTH {
        assert!(!state.is_pause_decided(request));
        assert!(state.take_next(vcpu).is_some());
        state.park(vcpu);
    }
    assert!(state.is_pause_decided(request));
}

#[test]
fn a_pause_that_was_resumed_is_not_withdrawn_from_the_next_one() {
    let mut state = running();
    let late = state.request_pause().unwrap();
    state.resume(false);
    let next = state.request_pause().unwrap();
    assert!(state.is_pause_decided(late), "by the resume");
    assert!(!state.is_pause_decided(next));
    state.withdraw_pause(late);
    assert_eq!(state.signal(), PAUSE);
    state.withdraw_pause(next);
    assert_eq!(state.signal(), RUN);
}

#[test]
fn two_resets_at_once_are_one() {
    let mut state = running();
    assert_eq!(state.reset(ResetCause::Guest), Some(true));
    assert_eq!(state.reset(ResetCause::Host), Some(false));
    let answer = state.guest_asks(Outcome::Reset, PAUSES);
    assert_eq!(answer, Answer::Ignore);
    for vcpu in BOTH {
        state.arrive(vcpu);
    }
    state.begin(&mut vcpus());
    assert_eq!(
        state.events,
        [Event::Started, Event::Reset(ResetCause::Guest)]
    );
}

#[test]
fn the_end_hands_back_vcpus_that_nobody_took() {
    let mut state = running();
    state.reset(ResetCause::Host);
    for vcpu in BOTH {
        state.arrive(vcpu);
    }
    state.begin(&mut vcpus());
    drop(state.take_next(VcpuId(0)));
    assert_eq!(state.end(Ok(Outcome::Stopped), false).len(), 1);
    assert!(state.take_next(VcpuId(1)).is_none());
}

#[test]
fn vcpus_that_come_after_the_end_are_not_taken() {
    let mut state = running();
    state.reset(ResetCause::Host);
    for vcpu in BOTH {
        state.arrive(vcpu);
    }
    state.end(Ok(Outcome::Stopped), false);
    let mut late = vcpus();
    state.begin(&mut late);
    assert!(late.is_some());
    assert_eq!(state.signal(), STOP);
}

#[test]
fn a_guest_that_faults_after_its_panic_has_crashed_again() {
    let mut state = running();
    let panic = state.guest_asks(Outcome::GuestPanic, PAUSES);
    assert_eq!(panic, Answer::Pause);
    assert!(state.may_resume(), "a panic may be looked at and left");
    state.resume(true);
    let fault = Outcome::TripleFault(VcpuId(1));
    assert_eq!(state.guest_asks(fault, PAUSES), Answer::Pause);
    assert_eq!(state.machine_state(), MachineState::Crashed(fault));
    assert!(!state.may_resume());
    assert_eq!(state.guest_asks(fault, PAUSES), Answer::Ignore);
}

#[test]
fn a_visit_that_came_too_late_does_not_count_for_the_next_round() {
    let mut state = running();
    let visits = || -> Vec<Option<Visit>> { vec![Some(Box::new(|_| ())), None] };
    assert!(state.begin_round(&mut visits()));
    assert_eq!(state.signal(), LOOK);
    assert!(!state.begin_round(&mut visits()), "one at a time");
    let (round, _) = state.take_visit(VcpuId(0)).unwrap();
    assert_eq!(state.signal(), RUN);
    assert!(state.end_round().is_empty());
    assert!(state.begin_round(&mut visits()));
    state.visited(round);
    assert_eq!(state.visits_left, Some(1));
    assert_eq!(state.end_round().len(), 1);
}
