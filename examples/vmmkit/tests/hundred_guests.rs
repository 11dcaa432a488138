//! A hundred guests at once: started, listed, paused, resumed and stopped; and nothing is left.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use support::has_kvm;
use support::running::{Guest, Place, wait_for, waiting_guest};

const GUESTS: usize = 100;

/// How many of them are in each state.
fn states(place: &Place) -> BTreeMap<String, usize> {
    let list: Value = serde_json::from_str(&place.says(&["list", "--json"])).unwrap();
    let mut states = BTreeMap::new();
    for guest in list.as_array().unwrap() {
        let state = guest["state"].as_str().unwrap().to_owned();
        *states.entry(state).or_default() += 1;
    }
    states
}

fn all(state: &str) -> BTreeMap<String, usize> {
    BTreeMap::from([(state.to_owned(), GUESTS)])
}

#[test]
fn a_hundred_guests_come_and_go() {
    if !has_kvm("a_hundred_guests_come_and_go") {
        return;
    }
    let place = Place::new("hundred", &waiting_guest());
    let name = |number| format!("guest-{number:03}");
    let start = |number| place.start(&["--name", &name(number), "--rng"]);
    let mut guests: Vec<Guest> = (0..GUESTS).map(start).collect();
    wait_for("all of them run", || states(&place) == all("running"));
    assert_eq!(place.says(&["list"]).lines().count(), GUESTS + 1);

    place.says(&["pause", "--all"]);
    assert_eq!(states(&place), all("paused"));
    place.says(&["resume", "--all"]);
    assert_eq!(states(&place), all("running"));
    place.says(&["stop", "--all", "--timeout", "0"]);

    let pids: Vec<u32> = guests.iter().map(Guest::pid).collect();
    for guest in &mut guests {
        assert_eq!(guest.ends().code(), Some(0));
    }
    assert_eq!(place.entries(), [""; 0], "no entry and no socket is left");
    for pid in pids {
        assert!(
            !Path::new(&format!("/proc/{pid}")).exists(),
            "process {pid} is left"
        );
    }
    assert_eq!(place.says(&["list"]), "");
}
