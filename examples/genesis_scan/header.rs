//! The work: the header of Bitcoin's first block, and the hash it must have.

use std::fmt;
use std::ops::Range;

use sha2::{Digest, Sha256};

/// The nonce that Satoshi found, and the hash of the block with it.
pub const ANSWER: (u32, Hash) = (
    2_083_236_893,
    Hash::of_digits("000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f"),
);

const VERSION: u32 = 1;
const PREVIOUS: Hash = Hash([0; 32]);
const MERKLE_ROOT: Hash =
    Hash::of_digits("4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b");
const TIME: u32 = 1_231_006_505;
const BITS: u32 = 0x1d00_ffff;

/// A header without its nonce, and the target that a hash must not exceed.
pub struct Puzzle {
    prefix: Vec<u8>,
    target: Hash,
    /// Has taken in the prefix: 64 of its bytes are hashed already, once for all nonces.
    primed: Sha256,
}

impl Puzzle {
    /// The puzzle of the genesis block.
    pub fn genesis() -> Puzzle {
        let prefix = [
            &VERSION.to_le_bytes()[..],
            &PREVIOUS.in_header(),
            &MERKLE_ROOT.in_header(),
            &TIME.to_le_bytes(),
            &BITS.to_le_bytes(),
        ]
        .concat();
        let primed = Sha256::new_with_prefix(&prefix);
        Puzzle { prefix, target: target(BITS), primed }
    }

    /// The 76 bytes before the nonce: the prefix of the jobs.
    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// The hash of the header with this nonce: SHA-256 twice.
    pub fn hash(&self, nonce: u32) -> Hash {
        let mut hasher = self.primed.clone();
        hasher.update(nonce.to_le_bytes());
        Hash::from_header(Sha256::digest(hasher.finalize()).into())
    }

    /// Whether a hash solves the puzzle.
    pub fn is_solved_by(&self, hash: Hash) -> bool {
        hash <= self.target
    }

    /// Tries every nonce of a range, and shows those that solve the puzzle with their hashes.
    pub fn solutions(&self, nonces: Range<u64>) -> impl Iterator<Item = (u32, Hash)> {
        nonces
            .filter_map(|position| u32::try_from(position).ok())
            .map(|nonce| (nonce, self.hash(nonce)))
            .filter(|(_, hash)| self.is_solved_by(*hash))
    }
}

/// The target that `bits` stands for: three digits of base 256, and how many there are in all.
fn target(bits: u32) -> Hash {
    let [length, digits @ ..] = bits.to_be_bytes();
    let first = 32 - usize::from(length);
    let mut target = [0; 32];
    target[first..first + digits.len()].copy_from_slice(&digits);
    Hash(target)
}

/// A 256-bit number, its most significant byte first. Headers hold it the other way round.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// The hash of 64 lower-case hexadecimal digits.
    const fn of_digits(digits: &str) -> Hash {
        let digits = digits.as_bytes();
        assert!(digits.len() == 64);
        let mut bytes = [0; 32];
        let mut at = 0;
        while at < 32 {
            bytes[at] = value_of(digits[2 * at]) << 4 | value_of(digits[2 * at + 1]);
            at += 1;
        }
        Hash(bytes)
    }

    fn from_header(mut bytes: [u8; 32]) -> Hash {
        bytes.reverse();
        Hash(bytes)
    }

    fn in_header(self) -> [u8; 32] {
        let Hash(mut bytes) = self;
        bytes.reverse();
        bytes
    }
}

const fn value_of(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => panic!("not a hexadecimal digit"),
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
