//! Stale patches, a lost supervisor and a full table: nothing is lost, nothing changes places.
#![allow(missing_docs)]

mod common;

use ::common::{
    command::Event,
    message::{Outcome, Submission},
    units::Seq,
};
use common::{default_names, osc, sender};
use osc_gateway::{
    gateway::Gateway, namespace::Namespace, reply::Reply, sessions::PENDING_PER_SENDER_MAX,
};

fn ready() -> Gateway {
    let mut gateway = Gateway::default();
    gateway.patch(default_names(1));
    gateway
}

fn freq(gateway: &mut Gateway, value: f32) {
    gateway.datagram(
        common::ticket(),
        sender(1),
        &osc("/mod/sine/freq", vec![value.into()]),
    );
}

fn sync(gateway: &mut Gateway, number: i32) {
    gateway.datagram(
        common::ticket(),
        sender(1),
        &osc("/sync", vec![number.into()]),
    );
}

fn send(gateway: &mut Gateway) -> Vec<(u64, Submission)> {
    let batch = gateway.batch();
    gateway.submitted(&batch);
    batch
}

fn values(batch: &[(u64, Submission)]) -> Vec<f32> {
    let value = |(_, submission): &(u64, Submission)| match submission {
        Submission::Event {
            event: Event::Param { value, .. },
            ..
        } => Some(*value),
        _ => None,
    };
    batch.iter().filter_map(value).collect()
}

fn replies(gateway: &mut Gateway) -> Vec<Reply> {
    gateway.replies().into_iter().map(|a| a.reply).collect()
}

/// The default patch with its modules the other way round.
fn reversed(generation: u64) -> Namespace {
    let names = default_names(generation);
    let reversed = names.modules().iter().rev().cloned();
    Namespace::new(generation, 48_000, reversed.collect())
}

#[test]
fn stale_events_are_resolved_again_before_newer_ones() {
    let mut gateway = ready();
    freq(&mut gateway, 100.0);
    sync(&mut gateway, 9);
    let first = send(&mut gateway);
    gateway.patch(reversed(2));
    freq(&mut gateway, 200.0);
    assert!(
        send(&mut gateway).is_empty(),
        "newer events wait for the fate of older ones"
    );
    gateway.outcomes(vec![
        (first[0].0, Outcome::Stale),
        (first[1].0, Outcome::Synced),
    ]);
    assert_eq!(
        replies(&mut gateway),
        [],
        "not synced: an event before it is not applied"
    );
    let second = send(&mut gateway);
    assert_eq!(values(&second), [100.0, 200.0]);
    assert!(matches!(second[1].1, Submission::Sync));
    assert!(matches!(
        second[0].1,
        Submission::Event {
            generation: 2,
            event: Event::Param { module: 3, .. },
            ..
        }
    ));
    let done = |submission_id| (submission_id, Outcome::Accepted(Seq(submission_id)));
    gateway.outcomes(vec![
        done(second[0].0),
        (second[1].0, Outcome::Synced),
        done(second[2].0),
    ]);
    assert_eq!(replies(&mut gateway), [Reply::Synced(9)]);
    assert_eq!(gateway.pending(), 0);
}

/// In one batch an event was stale, and the edit behind it comes back with it; the next batch, an edit, is under way.
#[test]
fn newer_events_wait_for_edits_that_may_come_back() {
    let mut gateway = ready();
    let create = |gateway: &mut Gateway, id: &str| {
        let texts = vec![id.to_owned().into(), "filter".to_owned().into()];
        gateway.datagram(common::ticket(), sender(1), &osc("/patch/create", texts));
    };
    freq(&mut gateway, 100.0);
    create(&mut gateway, "a");
    let first = send(&mut gateway);
    create(&mut gateway, "b");
    let second = send(&mut gateway);
    assert_eq!((first.len(), second.len()), (2, 1));
    gateway.patch(reversed(2));
    freq(&mut gateway, 200.0);
    gateway.outcomes(first.iter().map(|(id, _)| (*id, Outcome::Stale)).collect());
    assert!(
        send(&mut gateway).is_empty(),
        "it would overtake the edit that is under way"
    );
    gateway.outcomes(vec![(second[0].0, Outcome::Stale)]);
    let third = send(&mut gateway);
    let ids: Vec<u64> = third.iter().map(|(id, _)| *id).collect();
    assert_eq!(values(&third), [100.0, 200.0]);
    assert_eq!(ids[..3], [first[0].0, first[1].0, second[0].0]);
    assert!(ids.is_sorted() && ids.len() == 4);
}

#[test]
fn stale_before_the_patch_is_told_waits_for_it() {
    let mut gateway = ready();
    freq(&mut gateway, 100.0);
    let first = send(&mut gateway);
    gateway.outcomes(vec![(first[0].0, Outcome::Stale)]);
    assert!(send(&mut gateway).is_empty());
    gateway.patch(reversed(2));
    assert_eq!(values(&send(&mut gateway)), [100.0]);
}

#[test]
fn what_the_new_patch_does_not_have_is_refused() {
    let mut gateway = ready();
    freq(&mut gateway, 100.0);
    let first = send(&mut gateway);
    gateway.patch(Namespace::new(2, 48_000, Vec::new()));
    gateway.outcomes(vec![(first[0].0, Outcome::Stale)]);
    assert!(
        matches!(replies(&mut gateway).as_slice(), [Reply::Fail(_, why)] if why.contains("changed"))
    );
    assert_eq!(gateway.pending(), 0);
}

#[test]
fn a_lost_supervisor_gets_everything_again_in_order() {
    let mut gateway = ready();
    freq(&mut gateway, 1.0);
    freq(&mut gateway, 2.0);
    let first = send(&mut gateway);
    gateway.outcomes(vec![(first[0].0, Outcome::Accepted(Seq(1)))]);
    gateway.link_broke();
    freq(&mut gateway, 3.0);
    assert!(gateway.batch().is_empty(), "nobody to send to");
    gateway.patch(reversed(1));
    let second = send(&mut gateway);
    assert_eq!(values(&second), [2.0, 3.0]);
    assert!(matches!(
        second[0].1,
        Submission::Event {
            event: Event::Param { module: 3, .. },
            ..
        }
    ));
    // An outcome of a life that is over, for a submission id that nobody waits for.
    gateway.outcomes(vec![
        (first[0].0, Outcome::Refused("x".into())),
        (999, Outcome::Stale),
    ]);
    assert_eq!(gateway.pending(), 2);
}

#[test]
fn refusals_status_and_sync_reach_their_sender() {
    let mut gateway = ready();
    freq(&mut gateway, 1.0);
    gateway.datagram(common::ticket(), sender(2), &osc("/engine/status", vec![]));
    let batch = send(&mut gateway);
    gateway.outcomes(vec![
        (batch[0].0, Outcome::Refused("the log is full".into())),
        (batch[1].0, Outcome::Text("{}".into())),
    ]);
    let found = gateway.replies();
    assert_eq!(
        found[0].reply,
        Reply::Fail("/mod/sine/freq".into(), "the log is full".into())
    );
    assert_eq!(found[0].to, sender(1));
    assert_eq!(found[1].reply, Reply::Status("{}".into()));
    assert_eq!(found[1].to, sender(2));
}

#[test]
fn what_does_not_fit_is_refused_and_the_rest_goes_out_in_batches() {
    let mut gateway = ready();
    gateway.link_broke();
    for number in 0..PENDING_PER_SENDER_MAX + 3 {
        freq(&mut gateway, 1.0 + number as f32);
    }
    assert_eq!(gateway.pending(), PENDING_PER_SENDER_MAX);
    assert_eq!(replies(&mut gateway).len(), 3);
    assert_eq!(gateway.take_rejected(), 3);
    gateway.patch(default_names(1));
    let mut out = Vec::new();
    loop {
        let batch = send(&mut gateway);
        if batch.is_empty() {
            break;
        }
        assert!(batch.len() <= ::common::limits::COMMANDS_PER_MESSAGE);
        out.extend(values(&batch));
    }
    assert_eq!(out.len(), PENDING_PER_SENDER_MAX);
    assert!(out.is_sorted());
}

/// What waits is asked again by the gateway that comes after this one; what was refused is not.
#[test]
fn a_datagram_waits_until_all_of_it_is_answered() {
    let mut gateway = ready();
    let mut told = |address: &str, args| {
        let ticket = common::ticket();
        gateway.datagram(ticket, sender(1), &osc(address, args));
        gateway.waits(ticket)
    };
    assert!(told("/sync", vec![rosc::OscType::Int(1)]));
    assert!(told("/engine/status", vec![]));
    assert!(told("/gate/adsr", vec![rosc::OscType::Float(1.0)]));
    assert!(!told("/no/such/thing", vec![]));
}
