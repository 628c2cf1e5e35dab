//! Jobs and their indexes.

use super::{ANNE, BERT, COMPLETED, FAILED, HELD, NO_JOB, NOBODY, WAITING, check};
use crate::query::scene::{MINUTE, Scene};
use crate::schema::access;
use crate::schema::codec::encode;
use crate::schema::key;
use crate::schema::rows::{JobRow, Number, PrefixRow};
use crate::schema::tables;
use crate::storage::Table;
use crate::types::{JobId, JobStatus};

#[test]
fn jobs_that_contradict_themselves_are_named() {
    fn edit(scene: &Scene, job: JobId, change: fn(&mut JobRow)) {
        scene.edit(&key::job(job), change);
    }
    check(&[
        (|s| edit(s, HELD, |row| row.cursor = 101), (tables::JOBS, "job 1", "cursor lies within")),
        (
            |s| edit(s, WAITING, |row| row.cursor = 99),
            (tables::JOBS, "job 2", "cursor lies within"),
        ),
        (
            |s| edit(s, WAITING, |row| row.end = 100),
            (tables::JOBS, "job 2", "range holds a position"),
        ),
        (|s| edit(s, WAITING, |row| row.end = 201), (tables::JOBS, "job 3", "not overlap job 2")),
        (
            |s| edit(s, WAITING, |row| row.prefix = vec![7; 300]),
            (tables::JOBS, "job 2", "prefix has a length"),
        ),
        (
            |s| edit(s, COMPLETED, |row| row.cursor = 299),
            (tables::JOBS, "job 3", "only at the end"),
        ),
        (
            |s| edit(s, COMPLETED, |row| row.ended_at = None),
            (tables::JOBS, "job 3", "time of its end"),
        ),
        (
            |s| edit(s, COMPLETED, |row| row.token_live = true),
            (tables::JOBS, "job 3", "token is retired"),
        ),
        (
            |s| edit(s, FAILED, |row| row.token_live = true),
            (tables::JOBS, "job 4", "token is retired"),
        ),
        (|s| edit(s, HELD, |row| row.token_live = false), (tables::JOBS, "job 1", "token is live")),
        (|s| edit(s, HELD, |row| row.holder = None), (tables::JOBS, "job 1", "held by somebody")),
        (
            |s| edit(s, HELD, |row| row.holder = Some(NOBODY)),
            (tables::JOBS, "job 1", "holder is a worker"),
        ),
        (
            |s| edit(s, HELD, |row| row.deadline = row.indexed.saturating_sub(MINUTE)),
            (tables::JOBS, "job 1", "no later deadline"),
        ),
        (
            |s| s.control(|control| control.next_job = 5),
            (tables::JOBS, "job 5", "number was given out"),
        ),
        (
            |s| s.control(|control| control.jobs[0] += 1),
            (tables::META, "control", "jobs of each status"),
        ),
        (
            |s| s.control(|control| control.deleting.push(HELD)),
            (tables::META, "control", "job 1, which was deleted"),
        ),
        (
            |s| edit(s, HELD, |row| row.leased_cursor = row.cursor + 1),
            (tables::JOBS, "job 1", "when its token was issued"),
        ),
        (
            |s| edit(s, HELD, |row| row.errors = row.batches + 1),
            (tables::JOBS, "job 1", "no more errors than batches"),
        ),
    ]);
}

#[test]
fn jobs_that_are_missing_in_an_index_are_named() {
    fn held(scene: &Scene) -> JobRow {
        access::load(scene.view().txn(), &key::job(HELD)).unwrap().unwrap()
    }
    check(&[
        (
            |scene| scene.delete(tables::JOB_RANGES, &key::job_range(b"alpha", 100)),
            (tables::JOBS, "job 2", "in job_ranges"),
        ),
        (
            |scene| scene.delete(tables::JOB_QUEUE, &key::queue(-3, WAITING)),
            (tables::PREFIXES, "prefix alpha", "head is in job_queue"),
        ),
        (
            |scene| {
                let completed: JobRow =
                    access::load(scene.view().txn(), &key::job(COMPLETED)).unwrap().unwrap();
                let at = completed.ended_at.unwrap();
                let key = key::job_ended(b"alpha", JobStatus::Completed, at, COMPLETED);
                scene.delete(tables::JOBS_ENDED, &key);
            },
            (tables::JOBS, "job 3", "in jobs_ended while it is completed"),
        ),
        (
            |scene| {
                scene.delete(
                    tables::JOB_QUEUE_BY_PREFIX,
                    &key::queue_by_prefix(b"alpha", -3, WAITING),
                )
            },
            (tables::JOBS, "job 2", "in job_queue_by_prefix while it is pending"),
        ),
        (
            |scene| scene.delete(tables::JOB_LEASES, &key::lease(held(scene).indexed, HELD)),
            (tables::JOBS, "job 1", "in job_leases while it is leased"),
        ),
        (
            |scene| scene.delete(tables::JOB_HOLDERS, &key::holder(ANNE, HELD)),
            (tables::JOBS, "job 1", "in job_holders while it is leased"),
        ),
        (
            |scene| scene.edit(&key::job(WAITING), |row: &mut JobRow| row.priority = 0),
            (tables::JOBS, "job 2", "in job_queue_by_prefix while it is pending"),
        ),
    ]);
}

#[test]
fn index_entries_without_their_job_are_named() {
    fn put(scene: &Scene, table: Table, key: &[u8], value: &[u8]) {
        scene.tamper(|txn| txn.put(table, key, value).unwrap());
    }
    fn number(job: JobId) -> Vec<u8> {
        encode(&Number(job.0))
    }
    fn index_of_lease(scene: &Scene, minutes: u32, job: JobId, value: &[u8]) {
        let held: JobRow = access::load(scene.view().txn(), &key::job(HELD)).unwrap().unwrap();
        let key = key::lease(held.indexed.saturating_add(minutes * MINUTE), job);
        put(scene, tables::JOB_LEASES, &key, value);
    }
    let by_prefix = "with this prefix and priority";
    check(&[
        (
            |scene| put(scene, tables::JOB_RANGES, &key::job_range(b"gamma", 7), &number(NO_JOB)),
            (tables::JOB_RANGES, "prefix gamma from 7", "its job, 99,"),
        ),
        (
            |scene| {
                put(scene, tables::JOB_RANGES, &key::job_range(b"alpha", 100), &number(COMPLETED))
            },
            (tables::JOB_RANGES, "prefix alpha from 100", "its job, 3,"),
        ),
        (
            |scene| put(scene, tables::JOB_QUEUE, &key::queue(0, HELD), b"alpha"),
            (tables::JOB_QUEUE, "job 1", "head of its prefix"),
        ),
        (
            |scene| put(scene, tables::JOB_QUEUE, &key::queue(4, WAITING), b"alpha"),
            (tables::JOB_QUEUE, "job 2", "head of its prefix"),
        ),
        (
            |scene| put(scene, tables::JOB_QUEUE, &key::queue(0, NO_JOB), b"gamma"),
            (tables::JOB_QUEUE, "job 99", "head of its prefix"),
        ),
        (
            |scene| {
                put(
                    scene,
                    tables::JOB_QUEUE_BY_PREFIX,
                    &key::queue_by_prefix(b"beta", 0, FAILED),
                    b"",
                )
            },
            (tables::JOB_QUEUE_BY_PREFIX, "job 4", by_prefix),
        ),
        (
            |scene| {
                put(
                    scene,
                    tables::JOB_QUEUE_BY_PREFIX,
                    &key::queue_by_prefix(b"beta", -3, WAITING),
                    b"",
                )
            },
            (tables::JOB_QUEUE_BY_PREFIX, "job 2", by_prefix),
        ),
        (
            |scene| index_of_lease(scene, 1, HELD, b""),
            (tables::JOB_LEASES, "job 1", "its job is held"),
        ),
        (
            |scene| index_of_lease(scene, 0, HELD, b"?"),
            (tables::JOB_LEASES, "job 1", "under this deadline"),
        ),
        (
            |scene| index_of_lease(scene, 0, COMPLETED, b""),
            (tables::JOB_LEASES, "job 3", "its job is held"),
        ),
        (
            |scene| put(scene, tables::JOB_HOLDERS, &key::holder(BERT, HELD), b""),
            (tables::JOB_HOLDERS, "job 1", "held by this worker"),
        ),
        (
            |scene| put(scene, tables::JOB_HOLDERS, &key::holder(BERT, COMPLETED), b""),
            (tables::JOB_HOLDERS, "job 3", "held by this worker"),
        ),
    ]);
}

#[test]
fn prefixes_that_add_up_to_something_else_are_named() {
    fn edit(scene: &Scene, change: fn(&mut PrefixRow)) {
        scene.edit(b"alpha", change);
    }
    let alpha = "prefix alpha";
    check(&[
        (|s| edit(s, |row| row.jobs[0] += 1), (tables::PREFIXES, alpha, "its jobs by status")),
        (|s| edit(s, |row| row.positions += 1), (tables::PREFIXES, alpha, "positions of its jobs")),
        (|s| edit(s, |row| row.done += 1), (tables::PREFIXES, alpha, "done in jobs that nobody")),
        (
            |s| edit(s, |row| row.busy_us += 1),
            (tables::PREFIXES, alpha, "time of jobs that nobody"),
        ),
        (
            |s| edit(s, |row| row.covered.1 = u64::MAX),
            (tables::PREFIXES, alpha, "the positions it names"),
        ),
        (|s| edit(s, |row| row.head = None), (tables::PREFIXES, alpha, "its head is its first")),
        (|s| edit(s, |row| row.paused = true), (tables::PREFIXES, alpha, "its head is its first")),
        (
            |s| s.put(b"gamma", &PrefixRow::default()),
            (tables::PREFIXES, "the last prefix", "3 rows for 2 prefixes"),
        ),
        (
            |s| s.delete(tables::PREFIXES, b"beta"),
            (tables::PREFIXES, "prefix beta", "it has a row while it has jobs"),
        ),
    ]);
}
