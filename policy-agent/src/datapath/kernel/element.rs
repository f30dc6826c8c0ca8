//! What a missing element means.

use aya::maps::MapError;

use super::abi::Abi;

/// A missing element is no error when it is looked up.
pub(crate) fn found<T>(result: Result<Abi<T>, MapError>) -> Result<Option<T>, MapError> {
    match result {
        Ok(Abi(value)) => Ok(Some(value)),
        Err(MapError::KeyNotFound | MapError::ElementNotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A missing element is no error when it is removed.
pub(crate) fn gone(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound | MapError::ElementNotFound) => Ok(()),
        Err(MapError::SyscallError(error))
            if error.io_error.kind() == std::io::ErrorKind::NotFound =>
        {
            Ok(())
        }
        other => other,
    }
}
