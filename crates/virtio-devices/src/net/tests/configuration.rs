//! The configuration that the driver reads, and the header of a packet.

use super::*;

#[test]
fn the_configuration_is_that_of_5_1_4() {
    let options = NetOptions {
        mac: Some([2, 1, 2, 3, 4, 5]),
        mtu: Some(9000),
        ..NetOptions::default()
    };
    let (net, _peers) = net_of(3, &options);
    let driver = Driver::start(net).unwrap();
    let config: [u8; 16] = driver.config(0);
    assert_eq!(config[..6], [2, 1, 2, 3, 4, 5]);
    assert_eq!(config[6..], [1, 0, 3, 0, 0x28, 0x23, 0, 0, 0, 0]);
    assert_ne!(driver.features() & feature::MTU, 0);
    assert_ne!(driver.features() & feature::MQ, 0);
}

#[test]
fn an_address_is_made_up_where_none_is_given_and_a_bad_one_refused() {
    let (first, second) = (net().0.mac(), net().0.mac());
    assert_ne!(first, second);
    assert_eq!(first[0] & 3, 2);
    for mac in [[0; 6], [1, 2, 3, 4, 5, 6]] {
        let options = NetOptions {
            mac: Some(mac),
            ..NetOptions::default()
        };
        let error = options.address().unwrap_err();
        assert!(error.to_string().contains(&config::mac(&mac)), "{error}");
    }
    let options = NetOptions {
        mtu: Some(67),
        ..NetOptions::default()
    };
    assert!(matches!(
        Net::with_backends(Vec::new(), &options),
        Err(NetError::QueuePairs { .. })
    ));
    let (ours, _theirs) = UnixDatagram::pair().unwrap();
    let error = Net::with_backends(vec![Box::new(ours)], &options).unwrap_err();
    assert_eq!(error.to_string(), "MTU 67: it must be 68 or more");
}

#[test]
fn a_header_is_read_field_by_field_5_1_6() {
    let header = PacketHeader::parse(&[1, 4, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9]);
    let wanted = PacketHeader {
        flags: 1,
        gso_type: 4,
        header_length: 0x102,
        gso_size: 0x304,
        checksum_start: 0x506,
        checksum_offset: 0x708,
        buffers: 0x90a,
    };
    assert_eq!(header, wanted);
    assert!(header.leaves_work());
    assert!(!PacketHeader::default().leaves_work());
}
