//! The parts of the header of a redb file that say whether the file is complete and was closed
//! cleanly.
//!
//! The format is described in redb's `docs/design.md`. Headers of other versions are left to redb.

use super::backend::Bytes;

/// The bytes of a header.
pub(super) const LENGTH: usize = 320;

const MAGIC: &[u8] = b"redb\x1a\x0a\xa9\x0d\x0a";
const SQLITE: &[u8] = b"SQLite format 3\0";
/// The supported version of redb's file format.
const VERSION: u8 = 3;

const PRIMARY_IS_SLOT_1: u8 = 1;
const TWO_PHASE_COMMIT: u8 = 4;

/// Where the commit slots begin, and how long one is.
const SLOTS: [usize; 2] = [64, 192];
const SLOT_LENGTH: usize = 128;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    /// Whether redb trusts the latest commit without verifying it.
    pub(super) is_trusted: bool,
    pub(super) page_size: u64,
    region_header_pages: u64,
    region_pages: u64,
    full_regions: u64,
    pages_in_last_region: u64,
    /// The tables of the user.
    pub(super) tables: Option<Root>,
    /// The tables that redb keeps for itself.
    pub(super) system_tables: Option<Root>,
}

/// The root of a tree: a page, and its expected checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Root {
    pub(super) page: PageNumber,
    pub(super) checksum: u128,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PageNumber(u64);

impl Header {
    /// Reads a header; `None` if its format is not supported.
    pub(super) fn read(bytes: &Bytes) -> std::io::Result<Option<Header>> {
        if bytes.length()? < LENGTH as u64 {
            return Ok(None);
        }
        let mut found = [0; LENGTH];
        bytes.read(0, &mut found)?;
        Ok(Header::parse(&found))
    }

    pub(super) fn parse(bytes: &[u8]) -> Option<Header> {
        let flags = *bytes.strip_prefix(MAGIC)?.first()?;
        let slot = SLOTS[usize::from(flags & PRIMARY_IS_SLOT_1)];
        let slot = bytes.get(slot..slot + SLOT_LENGTH)?;
        if slot.first() != Some(&VERSION) {
            return None;
        }
        let root = |exists: usize, at: usize| -> Option<Option<Root>> {
            if *slot.get(exists)? == 0 { Some(None) } else { Some(Some(Root::parse(&slot[at..])?)) }
        };
        let count = |at: usize| number(bytes, at).map(u64::from);
        let header = Header {
            is_trusted: flags & TWO_PHASE_COMMIT != 0,
            page_size: count(12)?,
            region_header_pages: count(16)?,
            region_pages: count(20)?,
            full_regions: count(24)?,
            pages_in_last_region: count(28)?,
            tables: root(1, 8)?,
            system_tables: root(2, 40)?,
        };
        header.page_size.is_power_of_two().then_some(header)
    }

    /// The minimum length of the file: it grows before its header is updated, and shrinks after.
    pub(super) fn file_length(&self) -> u64 {
        let last = match self.pages_in_last_region {
            0 => 0,
            pages => self.region_header_pages + pages,
        };
        let region = self.region_header_pages + self.region_pages;
        let pages = self.full_regions.saturating_mul(region).saturating_add(1 + last);
        pages.saturating_mul(self.page_size)
    }

    /// The offset and length of a page in the file; `None` if it cannot exist.
    pub(super) fn place_of(&self, page: PageNumber) -> Option<(u64, u64)> {
        let length = self.page_size.checked_shl(page.order())?;
        let regions = page.region() * (self.region_header_pages + self.region_pages)
            + self.region_header_pages;
        let start = (1 + regions).checked_mul(self.page_size)?;
        Some((start.checked_add(page.index().checked_mul(length)?)?, length))
    }
}

impl Root {
    pub(super) fn parse(bytes: &[u8]) -> Option<Root> {
        Some(Root {
            page: PageNumber::parse(bytes)?,
            checksum: u128::from_le_bytes(*bytes.get(8..)?.first_chunk()?),
        })
    }
}

impl PageNumber {
    pub(super) fn parse(bytes: &[u8]) -> Option<PageNumber> {
        Some(PageNumber(u64::from_le_bytes(*bytes.first_chunk()?)))
    }

    /// The length of the page is the smallest page size times two to this power.
    fn order(self) -> u32 {
        (self.0 >> 59) as u32
    }

    fn region(self) -> u64 {
        (self.0 >> 20) & 0xf_ffff
    }

    /// Its index in the region, in pages of its own length.
    fn index(self) -> u64 {
        self.0 & (0xf_ffff >> self.order())
    }
}

/// The number of four bytes at an offset.
pub(super) fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Whether a file of these first bytes is an SQLite database.
pub(super) fn is_sqlite(first_bytes: &[u8]) -> bool {
    first_bytes.starts_with(SQLITE)
}
