//! The two providers behind each object.

/// An object of one provider or the other.
#[derive(Clone, Debug)]
pub(crate) enum Provided<V, S> {
    /// RDMA hardware and the kernel's soft devices.
    Verbs(V),
    /// RoCEv2 in this process.
    Soft(S),
}

/// The same call on whichever provider it is.
macro_rules! on_either {
    ($provided:expr, $object:ident => $call:expr) => {
        match $provided {
            crate::provided::Provided::Verbs($object) => $call,
            crate::provided::Provided::Soft($object) => $call,
        }
    };
}

pub(crate) use on_either;
