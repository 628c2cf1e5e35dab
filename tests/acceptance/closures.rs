//! A panic in a closure of the caller's belongs to the caller.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::support::{Scene, advance, lease, relaxed};

/// Runs a closure that panics with `"ours"`, and checks that this is what comes out of it.
#[track_caller]
fn assert_passes_through<T>(call: impl FnOnce() -> T) {
    let panic = catch_unwind(AssertUnwindSafe(call)).err().expect("the panic passes through");
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"ours"));
}

/// Promise 13.
#[test]
fn a_panic_in_a_closure_reaches_its_caller_and_the_store_works_on() {
    let scenes = [Scene::new(), Scene::with(relaxed), Scene::in_memory()];
    for scene in scenes {
        scene.jobs(&["a"]);
        let mut lease = lease(&scene.pc("w"));
        advance(&mut lease, 100);
        let view = scene.snapshot().unwrap();

        assert_passes_through(|| view.dump(|_, _, _| panic!("ours")));

        advance(&mut lease, 100);
        scene.jobs(&["b"]);
        let mut rows = 0;
        view.dump(|_, _, _| rows += 1).expect("the snapshot can be read on");
        assert!(rows > 0);
        assert_eq!(scene.snapshot().unwrap().job(lease.job()).unwrap().unwrap().cursor, 200);
    }
}
