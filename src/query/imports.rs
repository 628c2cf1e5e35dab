//! The last import of each source.

use super::Snapshot;
use crate::error::Result;
use crate::schema::access::load;
use crate::schema::meta::import_key;
use crate::schema::rows::ImportRow;

impl Snapshot {
    /// The number of the last [import](crate::Import) from a source; `None` if there was none.
    /// After a restart, an importer continues after it.
    ///
    /// # Errors
    /// [`Error::Storage`](crate::Error::Storage) or [`Error::Corrupted`](crate::Error::Corrupted)
    /// if the database cannot be read.
    pub fn last_import(&self, source: &str) -> Result<Option<u64>> {
        let last: Option<ImportRow> = load(self.txn(), &import_key(source))?;
        Ok(last.map(|last| last.number))
    }
}
