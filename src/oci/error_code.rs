//! The error codes of the distribution specification ("Error Codes"), and the error document that carries them.

use oci_spec::distribution::{ErrorInfoBuilder, ErrorResponseBuilder};

pub use oci_spec::distribution::ErrorCode;

/// Renders `{"errors":[{"code","message","detail"}]}` with one error.
#[must_use]
pub fn error_document(code: ErrorCode, message: &str, detail: Option<&str>) -> Vec<u8> {
    let mut info = ErrorInfoBuilder::default().code(code).message(message);
    if let Some(detail) = detail {
        info = info.detail(detail);
    }
    let document = info
        .build()
        .and_then(|info| ErrorResponseBuilder::default().errors(vec![info]).build());
    document
        .ok()
        .and_then(|document| serde_json::to_vec(&document).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_has_the_shape_of_the_specification() {
        let document = error_document(ErrorCode::TooManyRequests, "busy", None);
        let value: serde_json::Value = serde_json::from_slice(&document).unwrap();
        assert_eq!(value["errors"][0]["code"], "TOOMANYREQUESTS");
        assert_eq!(value["errors"][0]["message"], "busy");
    }
}
