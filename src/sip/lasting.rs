//! A bounded table of what holds for a while.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Instant;

/// What holds until a time of its own, at most so much of it: past that the oldest is forgotten.
#[derive(Debug)]
pub struct Lasting<K, V> {
    most: usize,
    known: HashMap<K, (Instant, V)>,
    /// By when it was put in; what was put in again stands here more than once.
    order: VecDeque<(Instant, K)>,
}

impl<K: Clone + Eq + Hash, V> Lasting<K, V> {
    /// An empty table for `most` entries.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            most,
            known: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// What still holds.
    #[must_use]
    pub fn get(&self, now: Instant, key: &K) -> Option<&V> {
        let (until, value) = self.known.get(key)?;
        (now < *until).then_some(value)
    }

    /// The same, to be changed; its time goes on.
    pub fn get_mut(&mut self, now: Instant, key: &K) -> Option<&mut V> {
        let (until, value) = self.known.get_mut(key)?;
        (now < *until).then_some(value)
    }

    /// Puts something in, in the place of what had its key.
    pub fn put(&mut self, now: Instant, key: K, until: Instant, value: V) {
        self.known.insert(key.clone(), (until, value));
        self.order.push_back((until, key));
        while let Some((until, key)) = self.order.front() {
            let stands = self.known.get(key).is_some_and(|(held, _)| held == until);
            if stands && now < *until && self.order.len() <= self.most {
                break;
            }
            if stands {
                self.known.remove(key);
            }
            self.order.pop_front();
        }
    }

    /// Takes something out.
    pub fn remove(&mut self, key: &K) {
        self.known.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_full_table_forgets_the_oldest_and_everything_has_its_time() {
        const MOST: usize = 1_000;
        let (now, hour) = (Instant::now(), Duration::from_hours(1));
        let mut table = Lasting::new(MOST);
        for key in 0..2 * MOST {
            table.put(now, key, now + hour, ());
            // Put in again and again, it takes no more room.
            table.put(now, usize::MAX, now + hour, ());
        }
        assert!(table.known.len() <= MOST && table.order.len() <= MOST);
        assert!(table.get(now, &0).is_none());
        assert!(table.get(now, &(2 * MOST - 1)).is_some());
        table.remove(&usize::MAX);
        assert!(table.get(now, &usize::MAX).is_none());
        let later = now + hour;
        assert!(table.get_mut(later, &(2 * MOST - 1)).is_none());
        table.put(later, 1, later + hour, ());
        assert_eq!((table.known.len(), table.order.len()), (1, 1));
    }
}
