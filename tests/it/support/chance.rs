//! Chance that can be had again: numbers from a seed, which is printed, and taken from `REGSEAL_SEED` when that is set.

use std::time::Duration;

/// `SplitMix64`; a part of a test that runs beside others takes a [`Chance::branch`] of its own.
#[derive(Clone, Debug)]
pub struct Chance {
    seed: u64,
    state: u64,
}

impl Chance {
    /// From `REGSEAL_SEED`, else from the operating system.
    pub fn from_environment() -> Self {
        let seed = match std::env::var("REGSEAL_SEED") {
            Ok(text) => text.parse().expect("REGSEAL_SEED is a number"),
            Err(_) => {
                let mut bytes = [0; 8];
                aws_lc_rs::rand::fill(&mut bytes).unwrap();
                u64::from(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
            }
        };
        eprintln!("REGSEAL_SEED={seed}");
        Self { seed, state: seed }
    }

    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Another sequence, which the seed and the number decide.
    pub fn branch(&self, number: u64) -> Self {
        let mut branch = self.clone();
        branch.state = self.seed ^ number.wrapping_add(1).wrapping_mul(0xd1b5_4a32_d192_ed03);
        branch.next();
        branch
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below the bound.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }

    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// True so many times in a hundred.
    pub fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let span = usize::try_from((most - least).as_millis()).unwrap();
        least + Duration::from_millis(self.below(span + 1) as u64)
    }
}
