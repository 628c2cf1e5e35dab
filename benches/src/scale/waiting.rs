//! Workers that wait for a job, in threads of their own.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, Scope};
use std::time::Duration;

use anyhow::{Context, Result};

use super::costs::Growth::Path;
use super::costs::Meter;
use super::scene::{Footprint, HISTORY, SPARE, Scene};
use super::store::{self, Lease, Measured, Worker};

/// Jobs that are held meanwhile.
const HELD: u64 = 100;
/// Stack of a waiting thread.
const STACK: usize = 256 << 10;
/// Until every thread that was started waits.
const START: Duration = Duration::from_millis(300);
/// Jobs that are handed to waiting workers, at most.
const HANDOVERS: u64 = 50;
/// The longest that a job may lie there before a waiting worker has it.
const HANDED_OVER: Duration = Duration::from_secs(60);

/// `size` workers wait for a job, while a hundred jobs are held.
pub(super) fn waiting(measured: Measured, size: u64, meter: &mut Meter) -> Result<Footprint> {
    let mut scene = Scene::new(measured, HELD, HISTORY)?;
    let register = |n| scene.measured.register(HELD + 1 + n);
    let waiters = (0..size).map(register).collect::<Result<Vec<_>>>()?;
    let footprint = thread::scope(|scope| {
        let footprint = start(scope, &waiters).and_then(|taken| {
            thread::sleep(START);
            while_waiting(&mut scene, size, &taken, meter)
        });
        // This ends the threads, whether or not everything went well.
        scene.measured.close()?;
        footprint
    });
    store::abandon(scene.leases);
    footprint
}

/// Starts a thread for each worker. What they get comes out of the channel.
fn start<'scope, 'workers: 'scope>(
    scope: &'scope Scope<'scope, '_>,
    workers: &'workers [Worker],
) -> Result<Receiver<Result<Lease>>> {
    let (sender, taken) = channel();
    for worker in workers {
        let sender = sender.clone();
        let thread = thread::Builder::new().stack_size(STACK);
        thread.spawn_scoped(scope, move || take_jobs(worker, &sender))?;
    }
    Ok(taken)
}

/// Waits for jobs and passes them on, until the store is closed.
fn take_jobs(worker: &Worker, taken: &Sender<Result<Lease>>) {
    while let Some(lease) = store::wait(worker).transpose() {
        let failed = lease.is_err();
        if taken.send(lease).is_err() || failed {
            return;
        }
    }
}

fn while_waiting(
    scene: &mut Scene,
    size: u64,
    taken: &Receiver<Result<Lease>>,
    meter: &mut Meter,
) -> Result<Footprint> {
    let Scene { measured, leases, idle, .. } = scene;
    let held = leases.len() as u64;
    meter.rounds(u64::MAX, |round| {
        let lease = &mut leases[(round.n % held) as usize];
        round.time("checkpoint", Path, || measured.checkpoint(lease))?;
        round.time("renew", Path, || store::renew(lease))?;
        round.time("lease request that finds nothing", Path, || store::find_none(idle))
    })?;
    if size > 0 {
        meter.rounds(HANDOVERS, |round| {
            let n = round.n;
            let mut lease = round.time("a new job until a waiting worker has it", Path, || {
                measured.create(SPARE, n, 1)?;
                taken.recv_timeout(HANDED_OVER).context("no waiting worker took the job")?
            })?;
            measured.complete(&mut lease)
        })?;
    }
    scene.footprint()
}
