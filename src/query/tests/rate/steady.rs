//! Workers at a steady speed, whatever the lengths of their batches.

use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the lengths of batches, and whenever one looks: steady workers have a steady rate.
    #[test]
    fn steady_workers_add_up_to_their_speeds(
        workers in proptest::collection::vec((1..5_000u64, 1..4_000u64), 1..5),
        looks in proptest::collection::vec(0..3_000u64, 1..6),
    ) {
        let scene = Scene::new(100_000);
        let mut fleet = Vec::new();
        for (n, (speed, batch)) in workers.iter().enumerate() {
            let start = (n as u64) << 40;
            let job = scene.job("p", start, start + (1 << 40));
            let name = format!("pc-{n}");
            fleet.push(Steady::new(&scene, &name, job, *speed, *batch as u32 * SECOND));
        }
        run(&scene, &mut fleet, 4_000 * SECOND);
        for look in looks {
            run(&scene, &mut fleet, look as u32 * SECOND);

            let (per_second, jobs, _) = moving(rate(&scene));

            let truth: u64 = workers.iter().map(|(speed, _)| speed).sum();
            prop_assert_eq!(jobs, workers.len() as u64);
            prop_assert!((per_second - truth as f64).abs() < truth as f64 * 1e-6);
        }
        fleet.into_iter().for_each(|one| one.lease.abandon());
    }
}
