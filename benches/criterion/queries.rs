//! Every question of a dashboard at full tiers: `cargo bench -p milepost-bench --bench queries`.

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use milepost_bench::dashboard::Question;
use milepost_bench::plan::Scale;
use milepost_bench::run::Entry;
use milepost_bench::sides::{Flush, Mode, Side};

fn questions(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for side in [Side::Milepost(Mode::Immediate), Side::SqliteTuned(Flush::Full)] {
        let name = side.to_string().replace(' ', "-");
        let entry = Entry::new(side, &folder.path().join(&name), &Scale::TEN)
            .expect("a store with full tiers");
        let mut reader = entry.rival.reader().expect("a reader");
        for question in Question::ALL {
            let mut group = criterion.benchmark_group(question.words());
            group.bench_function(&name, |bencher| {
                bencher.iter(|| reader.ask(question).expect("an answer"));
            });
            group.finish();
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1));
    targets = questions
}
criterion_main!(benches);
