use super::*;

fn open(store: StoreConfig, block_size: u32) -> Result<Arc<Medium>, OpenError> {
    Medium::open(&MediumConfig { store, block_size })
}

fn null(size_bytes: u64) -> Arc<Medium> {
    open(StoreConfig::Null { size_bytes }, 512).expect("opened")
}

#[test]
fn block_sizes_are_those_that_initiators_know() {
    for block_size in [0, 1, 1024, 520, 8192] {
        let store = StoreConfig::Null { size_bytes: 8192 };
        let error = open(store, block_size).expect_err("must be refused");
        assert!(matches!(error, OpenError::BlockSize { found } if found == block_size));
    }
}

#[test]
fn memory_is_whole_blocks_and_not_more_than_there_is() {
    let ram = |size_bytes| open(StoreConfig::Ram { size_bytes }, 4096);
    assert!(matches!(ram(5000), Err(OpenError::NotWholeBlocks(_))));
    assert!(matches!(ram(0), Err(OpenError::Empty { .. })));
    let error = ram(1 << 60).expect_err("must be refused");
    assert!(error.to_string().contains("are available"), "{error}");
    assert_eq!(ram(8192).expect("opened").size_bytes(), 8192);
}

#[test]
fn each_memory_is_its_own_medium() {
    assert_ne!(null(512).identity(), null(512).identity());
}

#[test]
fn null_grows_and_ram_says_why_it_does_not() {
    let medium = null(512);
    medium.resize(1 << 50).expect("grown");
    assert_eq!(medium.size_bytes(), 1 << 50);
    assert!(medium.resize(512).is_err());
    let ram = open(StoreConfig::Ram { size_bytes: 512 }, 512).expect("opened");
    let error = ram.resize(1024).expect_err("must be refused");
    assert!(error.to_string().contains("add a larger"), "{error}");
    assert_eq!(ram.refresh_size().expect("read"), 512);
}

#[test]
fn what_must_not_reach_the_store_is_refused() {
    let medium = null(4096);
    let unmap = |offset, len| BlockOperation::Unmap { offset, len };
    assert_eq!(medium.admit(&unmap(0, 4096)), Ok(()));
    assert_eq!(medium.admit(&unmap(4096, 0)), Ok(()));
    assert_eq!(medium.admit(&unmap(512, 4096)), Err(BlockErrorKind::Shrunk));
    let wraps = unmap(u64::MAX - 511, 1024);
    assert_eq!(medium.admit(&wraps), Err(BlockErrorKind::Shrunk));
    assert_eq!(medium.admit(&unmap(1, 512)), Err(BlockErrorKind::Other));
    assert_eq!(medium.admit(&unmap(0, 100)), Err(BlockErrorKind::Other));
    assert_eq!(medium.admit(&BlockOperation::Flush), Ok(()));
}
