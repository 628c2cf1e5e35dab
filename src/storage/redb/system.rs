//! Verifies redb's system tables before redb uses them.
//!
//! redb verifies no checksums of a file that was closed cleanly, or that was shared. If its lists
//! of freed pages are damaged, a commit panics, and panics again during unwinding, which aborts the
//! process: no caller can catch that. These tables are small, so verifying them is cheap, whatever
//! the size of the file. The result only decides whether redb has to check the whole file: no lock
//! is held here, so another process may be writing.

use std::io;

use xxhash_rust::xxh3::xxh3_128;

use super::backend::Bytes;
use super::header::{Header, PageNumber, Root, number};

const LEAF: u8 = 1;
const BRANCH: u8 = 2;

/// How many times the check is tried while another process changes the file.
const LOOKS: usize = 3;

/// Whether redb's system tables and its list of our tables match their checksums. Returns `true` if
/// redb verifies the file itself.
pub(super) fn is_sound(bytes: &Bytes) -> bool {
    let mut before = Header::read(bytes).ok().flatten();
    for _ in 0..LOOKS {
        let Some(header) = before else { return true };
        if !header.is_trusted || verify(bytes, &header).unwrap_or(false) {
            return true;
        }
        let after = Header::read(bytes).ok().flatten();
        if after.as_ref() == Some(&header) {
            return false;
        }
        before = after;
    }
    false
}

/// A page to verify.
struct Node {
    root: Root,
    /// The lengths of keys and values, if they are fixed.
    key_size: Option<usize>,
    value_size: Option<usize>,
    /// Whether its leaves list tables, which must be verified too.
    lists_tables: bool,
}

fn verify(bytes: &Bytes, header: &Header) -> io::Result<bool> {
    let list = |root, lists_tables| Node { root, key_size: None, value_size: None, lists_tables };
    let mut nodes = Vec::new();
    nodes.extend(header.tables.map(|root| list(root, false)));
    nodes.extend(header.system_tables.map(|root| list(root, true)));
    let length = bytes.length()?;
    // No page is listed twice, so there are no more than fit into the file.
    let mut left = length / header.page_size;
    while let Some(node) = nodes.pop() {
        let Some(place) = header.place_of(node.root.page) else { return Ok(false) };
        if left == 0 || place.0.checked_add(place.1).is_none_or(|end| end > length) {
            return Ok(false);
        }
        left -= 1;
        let mut page = vec![0; place.1 as usize];
        bytes.read(place.0, &mut page)?;
        let Some(children) = verified_children(&page, &node) else { return Ok(false) };
        nodes.extend(children);
    }
    Ok(true)
}

/// The pages that a page refers to; `None` if it does not match its checksum.
fn verified_children(page: &[u8], node: &Node) -> Option<Vec<Node>> {
    let entries = usize::from(u16::from_le_bytes(*page.get(2..)?.first_chunk()?));
    let is_branch = match *page.first()? {
        LEAF => false,
        BRANCH => true,
        _ => return None,
    };
    let last = entries.checked_sub(1)?;
    let end = if is_branch {
        let keys = 8 + 24 * (entries + 1);
        match node.key_size {
            Some(size) => keys.saturating_add(size.saturating_mul(entries)),
            None => number(page, keys + 4 * last)? as usize,
        }
    } else {
        leaf_end(page, node, entries, last)?
    };
    if xxh3_128(page.get(..end)?) != node.root.checksum {
        return None;
    }
    match (is_branch, node.lists_tables) {
        (true, _) => (0..=entries).map(|n| child(page, node, entries, n)).collect(),
        (false, true) => {
            let tables: Option<Vec<Option<Node>>> =
                (0..entries).map(|n| table(leaf_value(page, entries, n)?)).collect();
            Some(tables?.into_iter().flatten().collect())
        }
        (false, false) => Some(Vec::new()),
    }
}

/// The offset at which the last value of a leaf ends.
fn leaf_end(page: &[u8], node: &Node, entries: usize, last: usize) -> Option<usize> {
    let key_ends = if node.key_size.is_none() { 4 * entries } else { 0 };
    match (node.value_size, node.key_size) {
        (None, _) => Some(number(page, 4 + key_ends + 4 * last)? as usize),
        (Some(value), Some(key)) => {
            Some(key.saturating_add(value).saturating_mul(entries).saturating_add(4))
        }
        (Some(value), None) => {
            Some(value.saturating_mul(entries).saturating_add(number(page, 4 + 4 * last)? as usize))
        }
    }
}

/// A value of a leaf with keys and values of variable length.
fn leaf_value(page: &[u8], entries: usize, n: usize) -> Option<&[u8]> {
    let start = match n.checked_sub(1) {
        Some(before) => number(page, 4 + 4 * entries + 4 * before)?,
        None => number(page, 4 + 4 * (entries - 1))?,
    };
    let end = number(page, 4 + 4 * entries + 4 * n)?;
    page.get(start as usize..end as usize)
}

fn child(page: &[u8], node: &Node, entries: usize, n: usize) -> Option<Node> {
    let checksum = u128::from_le_bytes(*page.get(8 + 16 * n..)?.first_chunk()?);
    let page = PageNumber::parse(page.get(8 + 16 * (entries + 1) + 8 * n..)?)?;
    Some(Node { root: Root { page, checksum }, ..*node })
}

/// The root of a table from its definition: `Some(None)` if it is empty, `None` if the definition
/// is invalid.
fn table(definition: &[u8]) -> Option<Option<Node>> {
    let size = |at: usize| -> Option<Option<usize>> {
        let size = number(definition, at + 1)? as usize;
        Some((*definition.get(at)? != 0).then_some(size))
    };
    let (key_size, value_size) = (size(42)?, size(47)?);
    if *definition.get(9)? == 0 {
        return Some(None);
    }
    let root = Root::parse(definition.get(10..)?)?;
    Some(Some(Node { root, key_size, value_size, lists_tables: false }))
}
