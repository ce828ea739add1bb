//! Chance that can be asked in any order: a keyed hash of the fault's name and the emission's number.

use super::Fault;

/// Decides for one seed.
#[derive(Clone, Debug)]
pub(super) struct Dice {
    key: [u8; blake3::KEY_LEN],
}

/// Two numbers, each as likely as any other, that have nothing to do with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Roll {
    /// Whether the fault strikes.
    pub(super) chance: u64,
    /// How much of it.
    pub(super) size: u64,
}

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self { key: blake3::derive_key("telereel 2026 replay faults", &seed.to_be_bytes()) }
    }

    /// The same for the same fault and number, whatever else is asked.
    pub(super) fn roll(&self, fault: Fault, index: u64) -> Roll {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&index.to_be_bytes());
        hasher.update(fault.name().as_bytes());
        let hash = hasher.finalize();
        let [chance, size] = [0, 8].map(|at| {
            let mut word = [0; 8];
            word.copy_from_slice(&hash.as_bytes()[at..at + 8]);
            u64::from_be_bytes(word)
        });
        Roll { chance, size }
    }
}

/// The number below `limit` that `chance` stands for; 0 where there is none.
pub(super) fn below(chance: u64, limit: u64) -> u64 {
    ((u128::from(chance) * u128::from(limit)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers are a promise: another version must strike the same messages.
    #[test]
    fn rolls_are_the_same_for_ever() {
        let dice = Dice::new(1);
        let rolls = [(Fault::Drop, 0), (Fault::Drop, 1), (Fault::Delay, 1)]
            .map(|(fault, index)| dice.roll(fault, index));
        let expected = [
            [499_128_055_402_418_928, 2_691_826_264_064_934_794],
            [1_283_675_473_906_963_850, 5_897_214_313_325_562_355],
            [14_678_491_107_455_398_810, 680_846_180_277_055_314],
        ];
        assert_eq!(rolls.map(|roll| [roll.chance, roll.size]), expected);
        assert_ne!(Dice::new(2).roll(Fault::Drop, 0), dice.roll(Fault::Drop, 0));
    }

    #[test]
    fn below_stays_below() {
        assert_eq!((below(u64::MAX, 10), below(0, 10), below(u64::MAX, 0)), (9, 0, 0));
        assert_eq!(below(u64::MAX / 2 + 1, 10), 5);
    }
}
