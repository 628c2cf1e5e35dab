//! What grows, and what is measured while it does.

use std::time::Duration;

use anyhow::Result;

use super::costs::Growth::{Keyed, Path};
use super::costs::{Meter, Round};
use super::questions;
use super::scene::{Footprint, HISTORY, LARGE, SMALL, SPARE, Scene, scattered};
use super::store::{self, Lease, Measured, Worker};

/// Workers where it is not workers that grow.
const FEW: u64 = 10;
/// Jobs of a prefix, and findings of a job, where there are many of both.
const GROUP: u64 = 100;
/// Simulated time after which a lease without a checkpoint is stale.
const MINUTE: Duration = Duration::from_secs(60);

/// `size` jobs wait: half of them of one prefix, the others of prefixes with a hundred each.
pub(super) fn jobs(measured: Measured, size: u64, meter: &mut Meter) -> Result<Footprint> {
    let mut scene = Scene::new(measured, FEW, HISTORY)?;
    let Scene { measured, idle, .. } = &scene;
    let half = size / 2;
    let ids = meter.once("create jobs, per job", Keyed, size, || {
        let mut ids = measured.create(LARGE, FEW, half)?;
        for first in (0..size - half).step_by(GROUP as usize) {
            let prefix = format!("{SMALL}{}", first / GROUP);
            ids.extend(measured.create(&prefix, 0, GROUP.min(size - half - first))?);
        }
        Ok(ids)
    })?;
    meter.rounds(u64::MAX, |round| {
        let prefix = format!("{SMALL}{}", scattered(round.n, (size - half).div_ceil(GROUP)));
        let lease = round
            .time("lease a job of a prefix", Path, || store::lease_of_prefix(idle, &prefix))?;
        store::release(lease)
    })?;
    meter.rounds(u64::MAX, |round| {
        let job = ids[scattered(round.n, size)];
        round.time("cancel a job among many", Keyed, || measured.cancel(job))?;
        round.time("retry a job among many", Keyed, || measured.retry(job))
    })?;
    scene.ask(questions::JOBS, ids[ids.len() / 4], meter)?;
    scene.checkpoints(meter)?;
    scene.lives(meter)?;
    scene.finish(meter)
}

/// `size` workers hold a lease each, and no job waits.
pub(super) fn workers(measured: Measured, size: u64, meter: &mut Meter) -> Result<Footprint> {
    let mut scene = Scene::new(measured, size, HISTORY)?;
    meter.rounds(size / 4 + 1, |round| {
        let (new, known) = (size + 1 + round.n, scattered(round.n, size) as u64);
        round.time("register a new worker", Keyed, || scene.measured.register(new))?;
        round.time("register a known worker", Keyed, || scene.measured.register(known))?;
        Ok(())
    })?;
    meter.repeat("lease request that finds nothing", Path, |_| store::find_none(&scene.idle))?;
    let job = scene.leases[size as usize / 2].job();
    scene.ask(questions::WORKERS, job, meter)?;
    scene.checkpoints(meter)?;
    scene.measured.create(SPARE, 0, 1)?;
    scene.lives(meter)?;
    scene.measured.complete(&mut store::lease(&scene.idle)?)?;
    tiers(&scene, size, meter)?;
    expiry(&mut scene, size, meter)?;
    scene.finish(meter)
}

/// Days of all workers come and go.
fn tiers(scene: &Scene, size: u64, meter: &mut Meter) -> Result<()> {
    let import = || scene.measured.import_days(&scene.workers, 2);
    meter.once("import two days, per worker", Keyed, size, import)?;
    let lower = || scene.measured.lower_daily(1);
    meter.once("settle after a lower daily cap, per worker", Keyed, size, lower)
}

/// All leases end at once, as stale ones or by expiry, while no other job waits.
fn expiry(scene: &mut Scene, size: u64, meter: &mut Meter) -> Result<()> {
    let Scene { measured, workers, leases, idle } = scene;
    meter.rounds(u64::MAX, |round| {
        measured.advance(MINUTE);
        let release = || measured.release_stale(size);
        round.time_each("release stale leases, per lease", Keyed, size, release)?;
        store::abandon(std::mem::take(leases));
        *leases = lease_all(workers, "lease one of the last jobs", round)?;
        Ok(())
    })?;
    meter.rounds(u64::MAX, |round| {
        measured.expire_all();
        let first = || store::lease(idle);
        store::release(round.time("first lease after all expired", Path, first)?)?;
        // Not before that call: the allocator would give the memory of the handles back during it.
        store::abandon(std::mem::take(leases));
        *leases = lease_all(workers, "lease one of the last expired jobs", round)?;
        Ok(())
    })
}

/// Has each worker lease a job, and times the last quarter of them, when most jobs are held.
fn lease_all(
    workers: &[Worker],
    operation: &'static str,
    round: &mut Round<'_>,
) -> Result<Vec<Lease>> {
    let (first, last) = workers.split_at(workers.len() * 3 / 4);
    let mut leases = first.iter().map(store::lease).collect::<Result<Vec<_>>>()?;
    for worker in last {
        leases.push(round.time(operation, Path, || store::lease(worker))?);
    }
    Ok(leases)
}

/// Live history has `size` records of ten workers.
pub(super) fn history(measured: Measured, size: u64, meter: &mut Meter) -> Result<Footprint> {
    let mut scene = Scene::new(measured, FEW, 0)?;
    let busy = scene.leases[0].job();
    let fill = || scene.measured.import_history(&scene.workers, busy, size);
    meter.once("import history, per record", Keyed, size, fill)?;
    let unused = scene.measured.create(SPARE, 0, 1)?[0];
    scene.ask(questions::HISTORY, unused, meter)?;
    scene.checkpoints(meter)?;
    scene.lives(meter)?;
    let half = size / 2;
    let lower = || scene.measured.lower_history(half as u32);
    meter.once("settle after a lower cap on history, per record", Keyed, half, lower)?;
    scene.finish(meter)
}

/// One job has half of `size` findings, and jobs with a hundred each have the others.
pub(super) fn findings(measured: Measured, size: u64, meter: &mut Meter) -> Result<Footprint> {
    let mut scene = Scene::new(measured, FEW, HISTORY)?;
    let Scene { measured, leases, idle, .. } = &mut scene;
    let half = size / 2;
    let groups = (size - half).div_ceil(GROUP);
    let large = &mut leases[0];
    for first in (0..half).step_by(1_000) {
        measured.find(large, first, (half - first).min(1_000))?;
    }
    let mut found = Vec::new();
    for group in 0..groups {
        found.extend(measured.create(SPARE, group, 1)?);
        let mut lease = store::lease(idle)?;
        measured.find(&mut lease, 0, GROUP)?;
        measured.complete(&mut lease)?;
    }
    meter.rounds(size / 4, |round| {
        let key = size + round.n;
        round.time("checkpoint with a finding", Path, || measured.find(large, key, 1))?;
        let job = found[scattered(round.n, groups)];
        round.time("late finding", Keyed, || store::find_late(idle, job, key))
    })?;
    meter.rounds(u64::MAX, |round| {
        let job = measured.create(SPARE, groups, 1)?[0];
        let mut lease = store::lease(idle)?;
        round.time("checkpoint with 100 findings", Path, || measured.find(&mut lease, 0, GROUP))?;
        measured.complete(&mut lease)?;
        round.time("delete a job of 100 findings", Keyed, || measured.delete(job))
    })?;
    scene.ask(questions::FINDINGS, found[found.len() / 2], meter)?;
    scene.checkpoints(meter)?;
    scene.finish(meter)
}
