//! What cosign keeps beside a signature under a tag of its own, a document: an attestation or a list of components. It
//! is exempt from the policy only if it cannot be unpacked as an image: archives are no text, whatever type they have.

use futures_util::TryStreamExt;

use super::custody::Reader;
use super::error::HandlerError;
use super::{Handlers, unique};
use crate::body::BodyError;
use crate::oci::{Digest, Manifest};

impl Handlers {
    /// Whether every layer is text. What is not in the store is not known to be.
    pub(super) async fn is_document(
        &self,
        reader: &Reader<'_>,
        manifest: &Manifest,
    ) -> Result<bool, HandlerError> {
        if manifest.layers.is_empty() {
            return Ok(false);
        }
        for layer in unique(manifest.layers.iter()) {
            if !self.is_text(reader, &layer.digest).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn is_text(&self, reader: &Reader<'_>, digest: &Digest) -> Result<bool, HandlerError> {
        if let Some(known) = self.texts.get(digest).await {
            return Ok(known);
        }
        let Some(content) = reader.content(digest).await? else {
            return Ok(false);
        };
        let mut body = content.body;
        let mut text = Text::default();
        loop {
            let next = body.try_next().await;
            match next.map_err(|error| HandlerError::Broken(BodyError::new(error)))? {
                Some(bytes) if text.takes(&bytes) => {}
                Some(_) | None => break,
            }
        }
        let is_text = text.is_whole();
        self.texts.insert(digest.clone(), is_text).await;
        Ok(is_text)
    }
}

/// Checks pieces of UTF-8 without NUL, which every archive has.
#[derive(Debug, Default)]
struct Text {
    /// The beginning of a character that the last piece has cut.
    cut: Vec<u8>,
    is_none: bool,
}

impl Text {
    /// Whether it is still text after `bytes`.
    fn takes(&mut self, bytes: &[u8]) -> bool {
        let mut piece = std::mem::take(&mut self.cut);
        piece.extend_from_slice(bytes);
        match std::str::from_utf8(&piece) {
            Ok(_) => {}
            Err(error) if error.error_len().is_none() => {
                self.cut = piece.split_off(error.valid_up_to());
            }
            Err(_) => self.is_none = true,
        }
        self.is_none |= piece.contains(&0);
        !self.is_none
    }

    fn is_whole(&self) -> bool {
        !self.is_none && self.cut.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_text(pieces: &[&[u8]]) -> bool {
        let mut text = Text::default();
        pieces.iter().all(|piece| text.takes(piece)) && text.is_whole()
    }

    #[test]
    fn archives_are_no_text_and_text_may_come_in_any_pieces() {
        for (pieces, expected, why) in [
            (&[b"{\"a\":1}".as_slice()] as &[&[u8]], true, "JSON"),
            (
                &[
                    "\u{e9}".as_bytes().split_at(1).0,
                    "\u{e9}".as_bytes().split_at(1).1,
                ],
                true,
                "cut",
            ),
            (&["\u{e9}".as_bytes().split_at(1).0], false, "broken off"),
            (&[b"\x1f\x8b\x08\x00"], false, "gzip"),
            (&[b"\x28\xb5\x2f\xfd"], false, "zstd"),
            (&[b"\xfd7zXZ\x00"], false, "xz"),
            (&[b"name.txt\0\0\0"], false, "tar"),
            (&[b"text", b"\0"], false, "a NUL later"),
        ] {
            assert_eq!(is_text(pieces), expected, "{why}");
        }
    }
}
