use std::thread;

use super::*;

fn bodies(reader: &Subscription<u32>) -> Vec<u32> {
    let next = || match reader.next_now() {
        Next::Message(message) => Some(message.body),
        _ => None,
    };
    std::iter::from_fn(next).collect()
}

fn is_readable(reader: &Subscription<u32>) -> bool {
    crate::pollable::is_readable(reader.as_fd())
}

#[test]
fn every_reader_gets_what_is_published_after_it_came() {
    let broadcast = Broadcast::new(8);
    let first = broadcast.subscribe().unwrap();
    broadcast.publish(1);
    let second = broadcast.subscribe().unwrap();
    broadcast.publish(2);
    assert_eq!(bodies(&first), [1, 2]);
    assert_eq!(bodies(&second), [2]);
}

#[test]
fn a_slow_reader_loses_the_oldest_and_is_told_how_many() {
    let broadcast = Broadcast::new(2);
    let (slow, fast) = (
        broadcast.subscribe().unwrap(),
        broadcast.subscribe().unwrap(),
    );
    for body in 1..=5 {
        broadcast.publish(body);
        assert_eq!(bodies(&fast), [body]);
    }
    assert_eq!(slow.next_now(), Next::Missed(3));
    let Next::Message(message) = slow.next_now() else {
        panic!("no message");
    };
    assert_eq!((message.sequence, message.body), (4, 4));
    assert_eq!(bodies(&slow), [5]);
}

#[test]
fn the_descriptor_is_readable_while_something_waits() {
    let broadcast = Broadcast::new(8);
    let reader = broadcast.subscribe().unwrap();
    assert!(!is_readable(&reader));
    broadcast.publish(1);
    broadcast.publish(2);
    assert!(is_readable(&reader));
    reader.next_now();
    assert!(is_readable(&reader));
    reader.next_now();
    assert!(!is_readable(&reader));
    broadcast.close();
    assert!(is_readable(&reader));
    assert_eq!(reader.next_now(), Next::Closed);
    assert!(is_readable(&reader), "the end stays");
}

#[test]
fn what_came_before_the_end_is_read_before_it() {
    let broadcast = Broadcast::new(8);
    let reader = broadcast.subscribe().unwrap();
    broadcast.publish(1);
    broadcast.close();
    broadcast.publish(2);
    assert_eq!(bodies(&reader), [1]);
    assert_eq!(reader.wait(), Next::Closed);
    let late = broadcast.subscribe().unwrap();
    assert!(is_readable(&late));
    assert_eq!(late.wait(), Next::Closed);
}

#[test]
fn a_reader_that_left_is_forgotten() {
    let broadcast = Broadcast::new(8);
    for _ in 0..100 {
        drop(broadcast.subscribe().unwrap());
    }
    assert!(broadcast.hub.lock().readers.len() <= 1);
    broadcast.publish(1);
    assert!(broadcast.hub.lock().readers.is_empty());
}

#[test]
fn nothing_comes_within_the_time() {
    let broadcast = Broadcast::<u32>::new(8);
    let reader = broadcast.subscribe().unwrap();
    assert_eq!(reader.wait_for(Duration::from_millis(1)), Next::Empty);
}

#[test]
fn readers_that_wait_see_the_same_order_from_many_writers() {
    let broadcast = Arc::new(Broadcast::new(4000));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let reader = broadcast.subscribe().unwrap();
            thread::spawn(move || {
                let mut seen = Vec::new();
                while let Next::Message(message) = reader.wait() {
                    seen.push(message);
                }
                seen
            })
        })
        .collect();
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let broadcast = broadcast.clone();
            thread::spawn(move || (0..500).for_each(|n| broadcast.publish(writer * 1000 + n)))
        })
        .collect();
    for writer in writers {
        writer.join().unwrap();
    }
    broadcast.close();
    let mut seen = readers.into_iter().map(|reader| reader.join().unwrap());
    let (one, other) = (seen.next().unwrap(), seen.next().unwrap());
    assert_eq!(one, other);
    let numbers: Vec<_> = one.iter().map(|message| message.sequence).collect();
    assert_eq!(numbers, (1..=2000).collect::<Vec<u64>>());
}
