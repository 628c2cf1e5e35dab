//! One checkpoint, at each durability, and 256 in one transaction: `cargo bench -p milepost-bench`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use milepost_bench::plan::Scale;
use milepost_bench::run::{Entry, Length};
use milepost_bench::sides::{Flush, Mode, Side};

/// Long enough that only the count ends a run.
const FOREVER: Duration = Duration::from_secs(3_600);

fn sides() -> [Side; 6] {
    [
        Side::Milepost(Mode::Immediate),
        Side::SqliteTuned(Flush::Full),
        Side::SqliteTriggers(Flush::Full),
        Side::Milepost(Mode::Relaxed),
        Side::SqliteTuned(Flush::Normal),
        Side::SqliteTriggers(Flush::Normal),
    ]
}

fn checkpoints(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (number, side) in sides().into_iter().enumerate() {
        let mut entry = Entry::new(side, &folder.path().join(number.to_string()), &Scale::TEN)
            .expect("a store with full tiers");
        let name = side.to_string().replace(' ', "-");

        let mut group = criterion.benchmark_group("one checkpoint");
        group.throughput(Throughput::Elements(1));
        group.bench_function(&name, |bencher| {
            bencher.iter_custom(|count| {
                let sample = entry.alone(Length { count, most: FOREVER }).expect("checkpoints");
                black_box(sample.took)
            });
        });
        group.finish();

        let mut group = criterion.benchmark_group("256 checkpoints together");
        group.throughput(Throughput::Elements(256));
        group.bench_function(&name, |bencher| {
            bencher.iter_custom(|count| {
                let began = Instant::now();
                entry
                    .together(256, Length { count: 256 * count, most: FOREVER })
                    .expect("checkpoints");
                began.elapsed()
            });
        });
        group.finish();
        entry.check().expect("every side stores the same");
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3));
    targets = checkpoints
}
criterion_main!(benches);
