//! Datagrams that the kernel threw away because a socket of ours was full, as `/proc/net/udp` tells.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;

use metrics::counter;

/// Datagrams that were dropped before we saw them.
const DROPPED: &str = "xinqiao_udp_dropped_total";

/// What each socket had dropped when it was last looked at.
#[derive(Debug, Default)]
pub struct Drops(HashMap<u64, u64>);

impl Drops {
    /// Counts what was dropped since the last look; sockets that have been closed meanwhile are not seen any more.
    pub fn look(&mut self) {
        let ours = sockets();
        let tables = ["/proc/self/net/udp", "/proc/self/net/udp6"];
        let tables = tables.map(|table| fs::read_to_string(table).unwrap_or_default());
        let found = tables
            .iter()
            .flat_map(|table| rows(table))
            .filter(|(inode, _)| ours.contains(inode))
            .collect();
        counter!(DROPPED).increment(self.grown(found));
    }

    fn grown(&mut self, found: HashMap<u64, u64>) -> u64 {
        let before = |inode| self.0.get(inode).copied().unwrap_or(0);
        let grown = found
            .iter()
            .map(|(inode, drops)| drops.saturating_sub(before(inode)))
            .sum();
        self.0 = found;
        grown
    }
}

/// Inode and drops of each socket in the kernel's table.
fn rows(table: &str) -> impl Iterator<Item = (u64, u64)> {
    table.lines().skip(1).filter_map(|row| {
        let mut columns = row.split_ascii_whitespace();
        let inode = columns.nth(9)?.parse().ok()?;
        Some((inode, columns.next_back()?.parse().ok()?))
    })
}

/// The inodes of this process's sockets.
fn sockets() -> HashSet<u64> {
    let Ok(files) = fs::read_dir(Path::new("/proc/self/fd")) else {
        return HashSet::new();
    };
    files
        .flatten()
        .filter_map(|file| {
            let target = fs::read_link(file.path()).ok()?;
            let inode = target
                .to_str()?
                .strip_prefix("socket:[")?
                .strip_suffix(']')?;
            inode.parse().ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    const TABLE: &str = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  123: 0100007F:13C4 00000000:0000 07 00000000:00000000 00:00000000 00000000  1000        0 55501 2 0000000000000000 17
  124: 00000000:4E20 00000000:0000 07 00000000:00000000 00:00000000 00000000  1000        0 55502 2 0000000000000000 0
 half a row
";

    #[test]
    fn what_grew_since_the_last_look_counts_once_and_a_new_socket_begins_at_nothing() {
        let found: HashMap<_, _> = rows(TABLE).collect();
        assert_eq!(found, HashMap::from([(55_501, 17), (55_502, 0)]));
        let mut drops = Drops::default();
        assert_eq!(drops.grown(found.clone()), 17);
        assert_eq!(drops.grown(found), 0);
        assert_eq!(drops.grown(HashMap::from([(55_501, 20), (55_503, 2)])), 5);
        assert_eq!(drops.grown(HashMap::from([(55_501, 20)])), 0);
    }

    #[test]
    fn a_socket_that_overflows_is_seen() {
        let (full, sender) = (
            UdpSocket::bind("127.0.0.1:0").expect("a socket"),
            UdpSocket::bind("127.0.0.1:0").expect("a socket"),
        );
        let to = full.local_addr().expect("bound");
        for _ in 0..4_000 {
            let _ = sender.send_to(&[0; 1_400], to);
        }
        let port = format!(":{:04X} ", to.port());
        let table = fs::read_to_string("/proc/self/net/udp").expect("the kernel's table");
        let row = table
            .lines()
            .find(|row| row.contains(&port))
            .expect("our row");
        let (inode, dropped) = rows(&format!("head\n{row}")).next().expect("a row");
        assert!(sockets().contains(&inode));
        assert!(dropped > 0, "{row}");
    }
}
