//! The error codes of the distribution specification ("Error Codes"), and the error document that carries them.

use oci_spec::distribution::{ErrorInfoBuilder, ErrorResponseBuilder};

pub use oci_spec::distribution::ErrorCode;
use serde_json::Value;

/// Renders `{"errors":[{"code","message","detail"}]}` with one error.
#[must_use]
pub fn error_document(code: ErrorCode, message: &str, detail: Option<Value>) -> Vec<u8> {
    let info = ErrorInfoBuilder::default().code(code).message(message);
    let document = info
        .build()
        .and_then(|info| ErrorResponseBuilder::default().errors(vec![info]).build());
    let document = document.ok().and_then(|document| {
        let mut document = serde_json::to_value(document).ok()?;
        if let Some(detail) = detail {
            let error = document.get_mut("errors")?.get_mut(0)?;
            error.as_object_mut()?.insert("detail".to_owned(), detail);
        }
        serde_json::to_vec(&document).ok()
    });
    document.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_has_the_shape_of_the_specification() {
        let document = error_document(ErrorCode::TooManyRequests, "busy", None);
        let value: Value = serde_json::from_slice(&document).unwrap();
        assert_eq!(value["errors"][0]["code"], "TOOMANYREQUESTS");
        assert_eq!(value["errors"][0]["message"], "busy");
    }
}
