use std::os::fd::OwnedFd;

use super::super::connection::{Connection, Role};
use super::super::greeting::Greeting;
use super::super::link::{Key, Link};
use super::super::table::{Id, MAX, Table};
use super::*;

fn socket() -> OwnedFd {
    UnixStream::pair().unwrap().0.into()
}

fn insert(table: &mut Table) -> Option<Id> {
    table.insert(Connection::new(
        socket(),
        Role::Greeting(Greeting::default()),
    ))
}

/// A connection of the host to the guest's port.
fn request(table: &mut Table, guest: u32) -> (Id, Key) {
    let key = table.new_key(guest).unwrap();
    let role = Role::Linked(Link::request(key));
    let id = table.insert(Connection::new(socket(), role)).unwrap();
    table.link(id, key);
    (id, key)
}

#[test]
fn a_number_finds_nothing_once_its_connection_is_closed() {
    let mut table = Table::default();
    let first = insert(&mut table).unwrap();
    assert!(table.remove(first).is_some());
    let second = insert(&mut table).unwrap();
    assert_ne!(first, second);
    assert!(table.get_mut(first).is_none());
    assert!(table.remove(first).is_none());
    assert!(table.get_mut(second).is_some());
    assert_eq!(table.len(), 1);
    assert!(table.get_mut(Id(u64::MAX >> 2)).is_none());
}

#[test]
fn there_is_room_for_so_many_and_again_for_one_that_goes() {
    let mut table = Table::default();
    let mut ids = Vec::new();
    while let Some(id) = insert(&mut table) {
        ids.push(id);
    }
    assert_eq!(ids.len(), MAX);
    table.remove(ids[7]);
    assert!(insert(&mut table).is_some());
    assert!(insert(&mut table).is_none());
}

#[test]
fn a_port_is_given_out_once_until_its_connection_is_closed() {
    let mut table = Table::default();
    let (first, first_key) = request(&mut table, 5);
    let (_, second_key) = request(&mut table, 6);
    assert_ne!(first_key.host, second_key.host);
    assert_eq!(table.find(first_key), Some(first));
    // The guest names a port of the host that was given out to another connection.
    let third_key = Key {
        guest: 7,
        host: second_key.host,
    };
    let role = Role::Linked(Link::request(third_key));
    let third = table.insert(Connection::new(socket(), role)).unwrap();
    table.link(third, third_key);
    table.remove(third);
    assert_eq!(table.find(third_key), None);
    assert!(table.find(second_key).is_some());
    // And one that would be the next to be given out for the guest's same port.
    let taken = Key {
        guest: 8,
        host: second_key.host + 1,
    };
    table.link(first, taken);
    assert_eq!(table.new_key(8).unwrap().host, second_key.host + 2);
}

#[test]
fn the_first_deadline_is_of_a_connection_that_is_there() {
    let mut table = Table::default();
    let (first, second) = (insert(&mut table).unwrap(), insert(&mut table).unwrap());
    let seconds = Duration::from_secs;
    table.set_deadline(first, Some(seconds(2)));
    table.set_deadline(second, Some(seconds(3)));
    assert_eq!(table.first_deadline(), Some((seconds(2), first)));
    table.set_deadline(first, Some(seconds(4)));
    assert_eq!(table.first_deadline(), Some((seconds(3), second)));
    table.remove(second);
    assert_eq!(table.first_deadline(), Some((seconds(4), first)));
    table.set_deadline(first, None);
    assert_eq!(table.first_deadline(), None);
}
