//! A stored file with any bytes written over any of its own: opened with a check it verifies or is
//! refused; opened plainly it is read and written, and whatever it says, it says without a panic.
#![no_main]

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use milepost::testing::Device;
use milepost::{Builder, NewJob, NewWorker, Scope, Store};

static GOOD: &[u8] = include_bytes!("../../tests/data/format-1.milepost");

#[derive(Debug)]
struct Disk(Mutex<Vec<u8>>);

impl Disk {
    fn bytes(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Device for Disk {
    fn length(&self) -> io::Result<u64> {
        Ok(self.bytes().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.bytes();
        let end = (offset as usize).checked_add(out.len());
        let found = end.and_then(|end| bytes.get(offset as usize..end));
        out.copy_from_slice(found.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?);
        Ok(())
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        if length > 1 << 28 {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.bytes().resize(length as usize, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut bytes = self.bytes();
        let from = offset as usize;
        let place = from.checked_add(data.len()).and_then(|end| bytes.get_mut(from..end));
        place.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?.copy_from_slice(data);
        Ok(())
    }
}

fn open(bytes: Vec<u8>, check: bool) -> milepost::Result<Store> {
    Builder::on_device(Arc::new(Disk(Mutex::new(bytes)))).check_on_open(check).open()
}

fn use_it(store: &Store) -> milepost::Result<()> {
    let view = store.snapshot()?;
    view.verify()?;
    view.daily(Scope::Fleet, ..)?;
    view.jobs(None, 100)?;
    view.newest_history(None, 100)?;
    view.findings(None, 100)?;
    store.find_or_create_job(NewJob::new("fuzz", 0..10))?;
    let worker = store.register_worker(NewWorker::new("fuzz").kind("fuzz"))?;
    if let Some(mut lease) = worker.request(Duration::from_secs(1)).send()?.leased() {
        lease.release()?;
    }
    Ok(())
}

// A panic of redb's is caught by the store, and is as good as an error. libfuzzer's hook would end the
// process at once; without it only those that nobody catches do.
fn bear_panics() {
    std::panic::set_hook(Box::new(|_| {}));
}

fuzz_target!(init: bear_panics(), |patches: Vec<(u32, Vec<u8>)>| {
    let mut bytes = GOOD.to_vec();
    for (at, patch) in &patches {
        let from = *at as usize % bytes.len();
        let to = (from + patch.len()).min(bytes.len());
        bytes[from..to].copy_from_slice(&patch[..to - from]);
    }
    if let Ok(store) = open(bytes.clone(), true) {
        store.snapshot().and_then(|view| view.verify()).expect("it was checked");
    }
    if let Ok(store) = open(bytes, false) {
        let _whatever_it_says = use_it(&store);
    }
});
