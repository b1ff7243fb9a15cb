//! errno to [`BlockErrorKind`], in one place; the kind decides the sense data.

use target_core::backend::BlockErrorKind;

/// What an errno of a data operation means for the medium.
pub(crate) fn kind(errno: i32) -> BlockErrorKind {
    match errno {
        libc::ENOSPC | libc::EDQUOT | libc::EFBIG => BlockErrorKind::NoSpace,
        libc::EIO
        | libc::EBADMSG
        | libc::EILSEQ
        | libc::EUCLEAN
        | libc::ENODATA
        | libc::EREMOTEIO => BlockErrorKind::Medium,
        libc::ENODEV
        | libc::ENXIO
        | libc::ENOTCONN
        | libc::ESHUTDOWN
        | libc::ESTALE
        | libc::ENOLINK => BlockErrorKind::Gone,
        libc::EROFS | libc::EPERM | libc::EACCES => BlockErrorKind::ReadOnly,
        libc::EOPNOTSUPP | libc::ENOSYS | libc::ENOTTY => BlockErrorKind::Unsupported,
        libc::ECANCELED => BlockErrorKind::Cancelled,
        libc::ENOMEM | libc::ENOBUFS | libc::EAGAIN | libc::EINTR | libc::EBUSY => {
            BlockErrorKind::Busy
        }
        libc::ETIMEDOUT | libc::ETIME => BlockErrorKind::TimedOut,
        _ => BlockErrorKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_medium_and_absence_are_told_apart() {
        let cases = [
            (libc::ENOSPC, BlockErrorKind::NoSpace),
            (libc::EDQUOT, BlockErrorKind::NoSpace),
            (libc::EIO, BlockErrorKind::Medium),
            (libc::EILSEQ, BlockErrorKind::Medium),
            (libc::ENXIO, BlockErrorKind::Gone),
            (libc::EROFS, BlockErrorKind::ReadOnly),
            (libc::EOPNOTSUPP, BlockErrorKind::Unsupported),
            (libc::ECANCELED, BlockErrorKind::Cancelled),
            (libc::ENOMEM, BlockErrorKind::Busy),
            (libc::ETIMEDOUT, BlockErrorKind::TimedOut),
            (libc::EINVAL, BlockErrorKind::Other),
        ];
        for (errno, expected) in cases {
            assert_eq!(kind(errno), expected, "errno {errno}");
        }
    }
}
