//! Sealing afresh what a vendor encrypts, where its content was changed.

use super::VendorConfig;
use super::sensoro::cipher::Cipher;

/// Seals as a source's vendor does.
#[derive(Clone, Debug)]
pub struct Sealer {
    cipher: Cipher,
    app_id: String,
}

impl Sealer {
    /// None where the vendor does not encrypt, or the configuration has no key for it.
    pub fn of(config: &VendorConfig) -> Option<Self> {
        match config {
            VendorConfig::Sensoro(config) => {
                Some(Self { cipher: config.app_key.clone()?, app_id: config.app_id.clone() })
            }
            _ => None,
        }
    }

    /// The ciphertext as the vendor writes it; `random` must be another for each message.
    pub fn seal(&self, random: [u8; 16], clear: &[u8]) -> String {
        self.cipher.seal(random, clear, &self.app_id)
    }
}
