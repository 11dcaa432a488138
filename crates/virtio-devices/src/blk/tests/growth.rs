//! An image that grows far beyond what its first refcount block covers.

use super::*;

#[test]
fn an_image_of_small_clusters_grows_over_many_refcount_blocks() {
    let path = TempPath::new("qcow2");
    let options = StorageCreateOptions::new().filename(path.get());
    let storage = imago::Storage::create_open(options).unwrap();
    Qcow2::<Storage>::create_builder(storage)
        .size(4 << 20)
        .cluster_size(512)
        .create()
        .unwrap();
    let block = Arc::new(Block::open(&path.config()).unwrap());
    let mut driver = Driver::start(block).unwrap();
    for round in 0..2 {
        for part in 0..16 {
            let bytes = pattern(256 << 10, part as u8 + round);
            assert_eq!(write(&mut driver, part * 512, &bytes), 0);
        }
        let discard = [header(request::DISCARD, 0), range(100, 7000, 0)].concat();
        assert_eq!(ask(&mut driver, &[&discard]), 0);
        assert_eq!(flush(&mut driver), 0);
    }
    let (bytes, status) = read(&mut driver, 15 * 512, 256 << 10);
    assert_eq!((status, bytes == pattern(256 << 10, 16)), (0, true));
}
