//! Ids of requests and runs.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tracing::warn;

/// A random UUID (RFC 9562, version 4) in URL-safe base64 without padding: 22 characters.
pub(crate) fn random_id() -> String {
    let mut bytes = [0; 16];
    if let Err(error) = getrandom::fill(&mut bytes) {
        // An id that is not unique is better than no result.
        warn!(%error, "no random bits for an id");
    }
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_random_uuids() {
        let id = random_id();
        assert_eq!(id.len(), 22);
        let bytes = URL_SAFE_NO_PAD.decode(&id).expect("base64");
        assert_eq!((bytes[6] >> 4, bytes[8] >> 6), (4, 2));
        assert_ne!(id, random_id());
    }
}
