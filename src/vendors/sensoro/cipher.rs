//! Safe mode: how `encryptData` is sealed and opened.
//!
//! The vendor's receiver uses the package `wechat-crypto`, so the scheme is WeChat's:
//!
//! ```text
//! encryptData = base64(AES-256-CBC(random (16) | length (4, big-endian) | message | AppID | padding))
//! key         = base64-decode(AppKey + "="), 32 bytes; the IV is its first half
//! padding     = 1 to 32 bytes, each holding their number: blocks of 32, not of 16
//! ```
//!
//! An IV that is the key's and never changes is a weakness of the vendor's scheme, as is the missing
//! authentication (the request's signature stands in for it). Both are kept: this is their wire.

use aes::Aes256;
use aes::cipher::{Array, BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::secret::Secret;

/// Base64 of 32 bytes without its `=`.
pub const APP_KEY_CHARS: usize = 43;

const RANDOM_BYTES: usize = 16;
const LENGTH_BYTES: usize = 4;
const BLOCK_BYTES: usize = 16;
const PADDED_TO: usize = 32;

/// A key of 43 characters says two bits too many, and whoever made it need not have cleared them.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// An AppKey, ready for use.
#[derive(Clone)]
pub struct Cipher {
    key: [u8; 32],
    /// As it is configured, for whoever must keep it out of sight.
    app_key: Secret,
}

/// The key follows from it.
impl PartialEq for Cipher {
    fn eq(&self, other: &Self) -> bool {
        self.app_key == other.app_key
    }
}

impl std::fmt::Debug for Cipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cipher(…)")
    }
}

/// What was sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    pub message: Vec<u8>,
    /// The AppID behind the message.
    pub app_id: Vec<u8>,
}

/// Why nothing could be opened. Holds nothing of what was in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CipherError {
    #[error("it is not base64")]
    NotBase64,
    #[error("its {bytes} bytes are not whole blocks of 16")]
    NotBlocks { bytes: usize },
    #[error("no message is in it: it was sealed with another AppKey, or damaged")]
    NoMessage,
}

impl Cipher {
    /// None unless `app_key` is the base64 of 32 bytes without its `=`.
    pub fn new(app_key: &Secret) -> Option<Self> {
        if app_key.expose().len() != APP_KEY_CHARS {
            return None;
        }
        let key = LENIENT.decode(app_key.expose()).ok()?;
        Some(Self { key: key.try_into().ok()?, app_key: app_key.clone() })
    }

    /// What it was made of.
    pub fn app_key(&self) -> &Secret {
        &self.app_key
    }

    /// Opens the text of `encryptData`.
    pub fn open(&self, sealed: &str) -> Result<Opened, CipherError> {
        let mut plain = LENIENT.decode(sealed.trim()).map_err(|_| CipherError::NotBase64)?;
        let bytes = plain.len();
        let (blocks, rest) = Array::slice_as_chunks_mut(&mut plain);
        if blocks.is_empty() || !rest.is_empty() {
            return Err(CipherError::NotBlocks { bytes });
        }
        let (key, iv) = (&self.key, &self.key[..BLOCK_BYTES]);
        cbc::Decryptor::<Aes256>::new_from_slices(key, iv)
            .map_err(|_| CipherError::NoMessage)?
            .decrypt_blocks(blocks);
        // As the vendor's package: a last byte that is no count of padding means that there is none.
        let padding = plain.last().copied().map(usize::from).unwrap_or_default();
        if (1..=PADDED_TO).contains(&padding) {
            plain.truncate(plain.len().saturating_sub(padding));
        }
        let framed = plain.get(RANDOM_BYTES..).ok_or(CipherError::NoMessage)?;
        let (length, content) = framed.split_first_chunk::<LENGTH_BYTES>().ok_or(CipherError::NoMessage)?;
        let length = u32::from_be_bytes(*length) as usize;
        let (message, app_id) = content.split_at_checked(length).ok_or(CipherError::NoMessage)?;
        // The vendor's receiver takes nothing without an id. With a wrong key, length and id are noise:
        // a message that is not text was not opened.
        if app_id.is_empty() || std::str::from_utf8(message).is_err() {
            return Err(CipherError::NoMessage);
        }
        Ok(Opened { message: message.to_vec(), app_id: app_id.to_vec() })
    }

    /// Seals `message` as the vendor does; `random` must be new each time.
    pub fn seal(&self, random: [u8; RANDOM_BYTES], message: &[u8], app_id: &str) -> String {
        let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
        let mut plain =
            Vec::with_capacity(RANDOM_BYTES + LENGTH_BYTES + message.len() + app_id.len() + PADDED_TO);
        plain.extend_from_slice(&random);
        plain.extend_from_slice(&length.to_be_bytes());
        plain.extend_from_slice(message);
        plain.extend_from_slice(app_id.as_bytes());
        let padding = PADDED_TO - plain.len() % PADDED_TO;
        plain.resize(plain.len() + padding, padding as u8);
        let (blocks, _) = Array::slice_as_chunks_mut(&mut plain);
        // Fails only for keys and IVs of another length than these have.
        if let Ok(mut encryptor) =
            cbc::Encryptor::<Aes256>::new_from_slices(&self.key, &self.key[..BLOCK_BYTES])
        {
            encryptor.encrypt_blocks(blocks);
        }
        STANDARD.encode(&plain)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const APP_KEY: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";
    const MESSAGE: &str = r#"{"battery":85,"interval":60,"temperature":23.5}"#;
    /// Opened by `wechat-crypto` 0.0.2, too.
    const SEALED: &str = "Q3stYC6hdFzMh9T8HCvyDKhASHuDxvS459QyRLKrpW0PPMz82EQ0Ja+Ql0kM6wNwfjr9UsQUg594IvGuTsh+\
                          WkVkgVKTKUZ8Gnkmcne1tadl+mmnUQJidv2ZUPO+2Fkh";

    fn cipher() -> Cipher {
        Cipher::new(&Secret::new(APP_KEY)).unwrap()
    }

    #[test]
    fn the_vector_opens_and_is_sealed_again() {
        let opened = cipher().open(SEALED).unwrap();
        assert_eq!(opened, Opened { message: MESSAGE.into(), app_id: "123456".into() });
        assert_eq!(cipher().seal(*b"0123456789abcdef", MESSAGE.as_bytes(), "123456"), SEALED);
    }

    #[test]
    fn a_key_is_base64_of_32_bytes() {
        for wrong in ["", &APP_KEY[1..], &format!("{APP_KEY}H"), &APP_KEY.replace('a', "!"), &"ä".repeat(22)]
        {
            assert!(Cipher::new(&Secret::new(wrong)).is_none(), "{wrong}");
        }
        // The vector's own key has bits set beyond its 32 bytes.
        assert!(Cipher::new(&Secret::new("A".repeat(43))).is_some());
    }

    #[test]
    fn what_is_not_sealed_for_us_says_why() {
        let other = Cipher::new(&Secret::new("A".repeat(43))).unwrap();
        assert_eq!(other.open(SEALED), Err(CipherError::NoMessage));
        assert_eq!(cipher().open("no base64!"), Err(CipherError::NotBase64));
        assert_eq!(cipher().open(""), Err(CipherError::NotBlocks { bytes: 0 }));
        assert_eq!(cipher().open("QUJD"), Err(CipherError::NotBlocks { bytes: 3 }));
        assert_eq!(cipher().open(&STANDARD.encode([7; 16])), Err(CipherError::NoMessage));
        assert_eq!(cipher().open(&cipher().seal([0; 16], b"{}", "")), Err(CipherError::NoMessage), "no id");
    }

    #[test]
    fn every_length_of_padding_comes_back() {
        for length in 0..70 {
            let message = "x".repeat(length);
            let opened = cipher().open(&cipher().seal([length as u8; 16], message.as_bytes(), "id")).unwrap();
            assert_eq!((opened.message, opened.app_id), (message.into_bytes(), b"id".to_vec()));
        }
    }

    /// The padding of `wechat-crypto` goes by 32 and not by 16, so a count of up to 32 is padding and
    /// any other last byte is content.
    #[test]
    fn a_last_byte_beyond_32_is_content() {
        let mut plain = [0u8; 32];
        plain[16..20].copy_from_slice(&2u32.to_be_bytes());
        plain[20..].copy_from_slice(b"{}0123456789");
        let (blocks, _) = Array::slice_as_chunks_mut(&mut plain);
        let key = cipher().key;
        cbc::Encryptor::<Aes256>::new_from_slices(&key, &key[..16]).unwrap().encrypt_blocks(blocks);
        let opened = cipher().open(&STANDARD.encode(plain)).unwrap();
        assert_eq!(opened, Opened { message: b"{}".to_vec(), app_id: b"0123456789".to_vec() });
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = cipher().open(&text);
            let _ = cipher().open(&STANDARD.encode(bytes));
        }

        #[test]
        fn whatever_is_sealed_opens(random: [u8; 16], message in ".*", app_id in ".+") {
            let opened = cipher().open(&cipher().seal(random, message.as_bytes(), &app_id)).unwrap();
            prop_assert_eq!((opened.message, opened.app_id), (message.into_bytes(), app_id.into_bytes()));
        }
    }
}
