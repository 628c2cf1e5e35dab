//! Lists by filter, each held against a plain search through everything.

use std::collections::BTreeSet;

use milepost::{
    Finding, FindingFilter, HistoryFilter, Job, JobFilter, JobStatus, NewFinding, NewJob, Page,
    Prefix, Snapshot, Timestamp, WorkerId,
};

use crate::support::{DAY, MINUTE, Scene};

/// Jobs of every status and three prefixes, with findings, over some days.
fn busy_scene() -> Scene {
    fastrand::seed(11);
    let scene = Scene::in_memory();
    let workers = [scene.pc("a"), scene.pc("b")];
    for n in 0..120u64 {
        scene.clock.advance(DAY / 24);
        let prefix = ["x", "xy", "z"][n as usize % 3];
        let job =
            scene.create_job(NewJob::new(prefix, n * 10..n * 10 + 10).max_attempts(1)).unwrap();
        let worker = &workers[n as usize % 2];
        if n % 4 == 0 {
            worker.add_finding(job, NewFinding::new([n as u8 % 7], [n as u8])).unwrap();
        }
        let mut held = worker.request(100 * DAY).of_job(job).send().unwrap().leased().unwrap();
        match n % 5 {
            0 => {
                let batch = held.next_batch(10).unwrap().with_duration(MINUTE);
                held.checkpoint(batch.with_finding([n as u8 % 7, 1], "")).unwrap();
            }
            1 => drop(held.fail("no luck").unwrap()),
            2 => scene.cancel_job(job).unwrap(),
            3 => held.release().unwrap(),
            _ => {
                held.checkpoint(held.next_batch(3).unwrap().with_error("slow")).unwrap();
                held.abandon();
            }
        }
    }
    scene
}

/// All pages of a list.
fn all<T>(
    size: usize,
    mut page: impl FnMut(Option<&milepost::PageToken>, usize) -> Page<T>,
) -> Vec<T> {
    let (mut items, mut next) = (Vec::new(), None);
    loop {
        let Page { items: more, next: after, .. } = page(next.as_ref(), size);
        assert!(more.len() <= size);
        items.extend(more);
        match after {
            // As a program would that keeps it between two runs.
            Some(after) => {
                next = Some(serde_json::from_str(&serde_json::to_string(&after).unwrap()).unwrap());
            }
            None => return items,
        }
    }
}

fn jobs(view: &Snapshot, filter: &JobFilter, size: usize) -> Vec<Job> {
    all(size, |after, limit| view.find_jobs(filter, after, limit).unwrap())
}

fn findings(view: &Snapshot, filter: &FindingFilter, size: usize) -> Vec<Finding> {
    all(size, |after, limit| view.find_findings(filter, after, limit).unwrap())
}

#[test]
fn jobs_are_found_by_prefix_status_and_time() {
    let scene = busy_scene();
    let view = scene.snapshot().unwrap();
    let everything = view.jobs(None, usize::MAX).unwrap();
    let start = everything[0].created_at;
    let times: Vec<Option<(Timestamp, Timestamp)>> = vec![
        None,
        Some((start, start.saturating_add(DAY))),
        Some((start.saturating_add(DAY), start.saturating_add(3 * DAY))),
        Some((start.saturating_add(DAY), start)),
        Some((Timestamp::MIN, Timestamp::MAX)),
    ];
    let mut compared = 0;
    for prefix in [None, Some("x"), Some("xy"), Some("none")] {
        for statuses in 0..1u32 << JobStatus::all().len() {
            let wanted: Vec<JobStatus> = JobStatus::all()
                .iter()
                .enumerate()
                .filter(|(n, _)| statuses & 1 << n != 0)
                .map(|(_, status)| *status)
                .collect();
            for created in &times {
                for ended in &times {
                    let mut filter = JobFilter::default();
                    if let Some(prefix) = prefix {
                        filter = filter.prefix(prefix);
                    }
                    filter = wanted.iter().fold(filter, |filter, status| filter.status(*status));
                    if let Some((from, to)) = created {
                        filter = filter.created(*from, *to);
                    }
                    if let Some((from, to)) = ended {
                        filter = filter.ended(*from, *to);
                    }
                    let within = |times: &Option<(Timestamp, Timestamp)>, at: Option<Timestamp>| {
                        times.is_none_or(|(from, to)| at.is_some_and(|at| from <= at && at < to))
                    };
                    let expected: BTreeSet<_> = everything
                        .iter()
                        .filter(|job| {
                            prefix.is_none_or(|prefix| job.prefix == Prefix::from(prefix))
                                && (wanted.is_empty() || wanted.contains(&job.status))
                                && within(created, Some(job.created_at))
                                && within(ended, job.ended_at)
                        })
                        .map(|job| job.id)
                        .collect();

                    let found = jobs(&view, &filter, 7);

                    let ids: BTreeSet<_> = found.iter().map(|job| job.id).collect();
                    assert_eq!(ids, expected, "{filter:?}");
                    assert_eq!(found.len(), expected.len(), "none comes twice: {filter:?}");
                    assert!(found.iter().all(|job| filter.matches(job)));
                    compared += expected.len();
                }
            }
        }
    }
    assert!(compared > 10_000, "{compared}");
}

#[test]
fn a_page_ends_where_it_is_told_to_and_the_next_one_goes_on() {
    let scene = busy_scene();
    let view = scene.snapshot().unwrap();
    let failed = JobFilter::default().status(JobStatus::Failed);
    let whole = view.find_jobs(&failed, None, usize::MAX).unwrap();
    assert_eq!(whole.next, None);

    for size in [1, 2, whole.items.len(), whole.items.len() + 1] {
        assert_eq!(jobs(&view, &failed, size), whole.items, "{size}");
    }
    assert_eq!(view.find_jobs(&failed, None, 0).unwrap().items, []);

    // A place in one list means nothing in another, but does no harm there.
    let place = view.find_jobs(&failed, None, 1).unwrap().next;
    for prefix in ["x", "xy", "z", "none"] {
        let other = JobFilter::default().prefix(prefix).status(JobStatus::Completed);
        assert!(view.find_jobs(&other, place.as_ref(), 9).is_ok());
    }
}

/// Promise 14: what a page looks at is bounded, whatever it leaves out.
#[test]
fn a_page_that_finds_nothing_says_where_to_go_on() {
    let scene = Scene::in_memory();
    scene.create_jobs((0..10_000u64).map(|n| NewJob::new("a", n..n + 1))).unwrap();
    let view = scene.snapshot().unwrap();
    let none = JobFilter::default().created(Timestamp::MIN, Timestamp::EPOCH);

    let page = view.find_jobs(&none, None, 10).unwrap();

    assert!(page.items.is_empty() && page.next.is_some());
    assert!(jobs(&view, &none, 10).is_empty());
}

#[test]
fn jobs_are_changed_by_filter() {
    let scene = busy_scene();
    let before = scene.snapshot().unwrap().job_counts();
    let of_x = JobFilter::default().prefix("x");
    let count = |status: JobStatus| {
        let filter = JobFilter::default().prefix("x").status(status);
        jobs(&scene.snapshot().unwrap(), &filter, 50).len() as u64
    };
    let (failed, cancelled) = (count(JobStatus::Failed), count(JobStatus::Cancelled));
    let (pending, leased) = (count(JobStatus::Pending), count(JobStatus::Leased));

    assert_eq!(scene.retry_jobs(&of_x.clone().status(JobStatus::Failed)).unwrap(), failed);
    assert_eq!(count(JobStatus::Pending), pending + failed);
    assert_eq!(scene.retry_jobs(&of_x.clone().status(JobStatus::Completed)).unwrap(), 0);
    assert_eq!(scene.cancel_jobs(&of_x).unwrap(), pending + failed + leased);
    let ended = count(JobStatus::Completed) + count(JobStatus::Cancelled);
    assert_eq!(count(JobStatus::Cancelled), cancelled + pending + failed + leased);
    assert_eq!(scene.delete_jobs(&of_x).unwrap(), ended);

    let after = scene.snapshot().unwrap();
    assert_eq!(after.job_counts().all(), before.all() - ended);
    assert!(after.progress("x").unwrap().is_none());
    assert!(!after.is_settling());
}

#[test]
fn findings_are_found_by_job_worker_prefix_key_and_time() {
    let scene = busy_scene();
    let deleted =
        jobs(&scene.snapshot().unwrap(), &JobFilter::default().status(JobStatus::Failed), 9);
    scene.delete_job(deleted[0].id).unwrap();
    let view = scene.snapshot().unwrap();
    let everything = view.findings(None, usize::MAX).unwrap();
    let prefix_of = |finding: &Finding| view.job(finding.job).unwrap().unwrap().prefix;
    let start = everything.iter().map(|finding| finding.found_at).min().unwrap();
    let one = &everything[3];

    let jobs = [None, Some(one.job), Some(milepost::JobId::from(9_999))];
    let workers = [None, Some(one.worker), Some(WorkerId::from(99))];
    let prefixes = [None, Some("x"), Some("none")];
    let keys = [None, Some(one.key.clone()), Some(vec![3]), Some(vec![9, 9]), Some(vec![0; 300])];
    let times = [None, Some((start, start.saturating_add(2 * DAY))), Some((start, start))];
    let mut compared = 0;
    for job in jobs {
        for worker in workers {
            for prefix in prefixes {
                for key in &keys {
                    for found in times {
                        for late in [None, Some(true), Some(false)] {
                            let mut filter = FindingFilter::default();
                            filter = job.into_iter().fold(filter, FindingFilter::job);
                            filter = worker.into_iter().fold(filter, FindingFilter::worker);
                            filter = prefix.into_iter().fold(filter, FindingFilter::prefix);
                            filter = key.iter().cloned().fold(filter, FindingFilter::key);
                            filter = late.into_iter().fold(filter, FindingFilter::late);
                            if let Some((from, to)) = found {
                                filter = filter.found(from, to);
                            }
                            let mut expected: Vec<&Finding> = everything
                                .iter()
                                .filter(|finding| {
                                    job.is_none_or(|job| job == finding.job)
                                        && worker.is_none_or(|worker| worker == finding.worker)
                                        && prefix.is_none_or(|one| prefix_of(finding) == one.into())
                                        && key.as_ref().is_none_or(|key| *key == finding.key)
                                        && late.is_none_or(|late| late == finding.late)
                                        && found.is_none_or(|(from, to)| {
                                            from <= finding.found_at && finding.found_at < to
                                        })
                                })
                                .collect();

                            let list = findings(&view, &filter, 5);

                            let mut list: Vec<&Finding> = list.iter().collect();
                            let order = |one: &&Finding| (one.job, one.key.clone());
                            list.sort_by_key(order);
                            expected.sort_by_key(order);
                            assert_eq!(list, expected, "{filter:?}");
                            compared += expected.len();
                        }
                    }
                }
            }
        }
    }
    assert!(compared > 250, "{compared}");
}

#[test]
fn history_is_found_by_worker_job_error_and_time() {
    let scene = busy_scene();
    let view = scene.snapshot().unwrap();
    let everything = view.newest_history(None, usize::MAX).unwrap();
    let one = &everything[everything.len() / 2].batch;
    let day = (one.finished_at.saturating_sub(DAY), one.finished_at);

    for worker in [None, Some(one.worker)] {
        for job in [None, one.job] {
            for errors in [false, true] {
                for finished in [None, Some(day)] {
                    let mut filter = HistoryFilter::default();
                    filter = worker.into_iter().fold(filter, HistoryFilter::worker);
                    filter = job.into_iter().fold(filter, HistoryFilter::job);
                    if errors {
                        filter = filter.errors();
                    }
                    if let Some((from, to)) = finished {
                        filter = filter.finished(from, to);
                    }
                    let expected: Vec<_> = everything
                        .iter()
                        .filter(|record| {
                            worker.is_none_or(|worker| worker == record.batch.worker)
                                && job.is_none_or(|job| record.batch.job == Some(job))
                                && (!errors || record.batch.error.is_some())
                                && finished.is_none_or(|(from, to)| {
                                    from <= record.batch.finished_at
                                        && record.batch.finished_at < to
                                })
                        })
                        .cloned()
                        .collect();

                    let (mut list, mut before) = (Vec::new(), None);
                    while let Some(page) = Some(view.find_history(&filter, before, 3).unwrap())
                        .filter(|page| !page.is_empty())
                    {
                        before = page.last().map(|record| record.id);
                        list.extend(page);
                    }

                    assert_eq!(list, expected, "{filter:?}");
                }
            }
        }
    }
}
