//! Finding line ends eight octets at a time.

const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);

/// Where the first CR or LF is.
pub(in crate::message) fn find_line_end(bytes: &[u8]) -> Option<usize> {
    const CR: u64 = u64::from_ne_bytes([b'\r'; 8]);
    const LF: u64 = u64::from_ne_bytes([b'\n'; 8]);
    find(bytes, |word| zeros(word ^ CR) | zeros(word ^ LF), |b| matches!(b, b'\r' | b'\n'))
}

/// Where the first LF is.
pub(super) fn find_lf(bytes: &[u8]) -> Option<usize> {
    const LF: u64 = u64::from_ne_bytes([b'\n'; 8]);
    find(bytes, |word| zeros(word ^ LF), |b| b == b'\n')
}

/// The high bit of each octet that is zero. A carry can set bits above the first of them, never below.
fn zeros(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGHS
}

#[inline]
fn find(bytes: &[u8], hits: impl Fn(u64) -> u64, is_hit: impl Fn(u8) -> bool) -> Option<usize> {
    let (words, rest) = bytes.as_chunks::<8>();
    for (n, word) in words.iter().enumerate() {
        let hit = hits(u64::from_le_bytes(*word));
        if hit != 0 {
            return Some(n * 8 + hit.trailing_zeros() as usize / 8);
        }
    }
    rest.iter().position(|b| is_hit(*b)).map(|n| words.len() * 8 + n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_hit_is_found_at_every_place() {
        for len in 0..40 {
            for at in 0..len {
                for byte in [b'\r', b'\n'] {
                    // 0x0B and 0x8A differ from the hits by what a careless trick overlooks.
                    for fill in [b'x', 0x0B, 0x8A, 0x8D, 0x0C, 0x0E, 0x00, 0xFF] {
                        let mut bytes = vec![fill; len];
                        bytes[at] = byte;
                        assert_eq!(find_line_end(&bytes), Some(at), "{bytes:?}");
                        assert_eq!(find_lf(&bytes), (byte == b'\n').then_some(at), "{bytes:?}");
                        bytes[len - 1] = b'\n';
                        assert_eq!(find_line_end(&bytes), Some(at), "{bytes:?}");
                    }
                }
            }
            assert_eq!(find_line_end(&vec![b'\x0b'; len]), None);
        }
    }
}
