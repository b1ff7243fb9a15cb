//! Opening a shared library and looking its symbols up.

use std::ffi::{CStr, c_void};
use std::ptr::NonNull;

/// Why a library cannot be used. Cloned for every caller, because the attempt is made once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The library is not there or cannot be loaded.
    #[error("{library} cannot be opened: {reason}; install {packages}")]
    Open {
        /// File name of the library.
        library: &'static str,
        /// What the loader said.
        reason: String,
        /// The Debian packages that bring it.
        packages: &'static str,
    },
    /// The library is there, but older than this program needs.
    #[error("{library} has no {symbol}; install {packages} of rdma-core 44 or newer")]
    Symbol {
        /// File name of the library.
        library: &'static str,
        /// The function that was looked for.
        symbol: &'static str,
        /// The Debian packages that bring it.
        packages: &'static str,
    },
}

/// A library that stays loaded until the process ends, which is what makes its symbols `'static`.
pub(crate) struct Library {
    handle: NonNull<c_void>,
    name: &'static str,
    packages: &'static str,
}

impl Library {
    pub(crate) fn open(name: &'static CStr, packages: &'static str) -> Result<Self, LoadError> {
        let library = name.to_str().unwrap_or("(library)");
        // SAFETY: `name` ends in NUL; the constructors of these libraries may run on any thread.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        match NonNull::new(handle) {
            Some(handle) => Ok(Self {
                handle,
                name: library,
                packages,
            }),
            None => Err(LoadError::Open {
                library,
                reason: loader_message(),
                packages,
            }),
        }
    }

    /// Address of the newest version of `symbol`.
    pub(crate) fn symbol(&self, symbol: &'static CStr) -> Result<NonNull<c_void>, LoadError> {
        // SAFETY: the handle came from dlopen and is never closed; `symbol` ends in NUL.
        let address = unsafe { libc::dlsym(self.handle.as_ptr(), symbol.as_ptr()) };
        NonNull::new(address).ok_or(LoadError::Symbol {
            library: self.name,
            symbol: symbol.to_str().unwrap_or("(symbol)"),
            packages: self.packages,
        })
    }
}

fn loader_message() -> String {
    // SAFETY: dlerror returns NULL or a string that stays valid until this thread's next loader call.
    let message = unsafe { libc::dlerror() };
    if message.is_null() {
        return "no reason given".to_owned();
    }
    // SAFETY: not NULL, so it is a string that ends in NUL.
    let message = unsafe { CStr::from_ptr(message) };
    message.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_names_its_packages() {
        let error = Library::open(c"libnotthere.so.9", "notthere1")
            .err()
            .expect("absent");
        let text = error.to_string();
        assert!(
            text.starts_with("libnotthere.so.9 cannot be opened: "),
            "{text}"
        );
        assert!(text.contains("No such file"), "{text}");
        assert!(text.ends_with("; install notthere1"), "{text}");
    }

    #[test]
    fn a_missing_symbol_is_named() {
        let library = Library::open(c"libc.so.6", "libc6").expect("the C library");
        assert!(library.symbol(c"getpid").is_ok());
        let error = library.symbol(c"ibv_not_there").expect_err("absent");
        assert_eq!(
            error.to_string(),
            "libc.so.6 has no ibv_not_there; install libc6 of rdma-core 44 or newer"
        );
    }
}
