//! The benchmark of scale runs, and finds a cost for each operation.

use milepost_bench::machine::Machine;
use milepost_bench::scale::{Axis, Cell, Growth, Report, draw};

#[test]
fn every_axis_is_measured_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let mut report = Report::new(Machine::this(folder.path()), Vec::new());
    for axis in Axis::ALL {
        let own = tempfile::tempdir().unwrap();
        let cell = Cell { axis, size: axis.sizes(true)[0], quick: true };

        let outcome = cell.measure(own.path()).unwrap();

        let on_path = outcome.costs.iter().filter(|cost| cost.growth == Growth::Path).count();
        assert!(on_path >= 3, "{axis:?}: {:?}", outcome.costs);
        assert!(outcome.costs.iter().all(|cost| cost.micros > 0.0 && cost.micros.is_finite()));
        assert!(outcome.footprint.file > 0 && outcome.footprint.resident > 0 && outcome.peak > 0);
        report.add(outcome);
    }

    draw(&report, folder.path()).unwrap();

    let plot = std::fs::read_to_string(folder.path().join("scale.svg")).unwrap();
    for words in ["lease request that finds nothing", "findings of a job of 100", "verify"] {
        assert!(plot.contains(words), "the plot does not show: {words}");
    }
}
