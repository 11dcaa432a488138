//! The manual's files, variables and keys.

pub(super) const FILES: &[(&str, &str)] = &[
    (
        "$XDG_RUNTIME_DIR/vmmkit/NAME/",
        "The entry of a guest that runs, with the socket of its control API, api.sock. Its folder is of mode 0700.",
    ),
    (
        "/tmp/vmmkit-UID/NAME/",
        "The same where there is no XDG_RUNTIME_DIR.",
    ),
    (
        "~/.config/vmmkit/NAME.toml",
        "The options of the guest NAME, for `vmmkit run NAME`.",
    ),
    (
        "/dev/kvm",
        "The KVM device, which its user must be able to read and write.",
    ),
];

pub(super) const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "XDG_RUNTIME_DIR",
        "The folder of the user's running guests.",
    ),
    (
        "XDG_CONFIG_HOME",
        "The folder that stands for ~/.config, where it is set.",
    ),
    (
        "VMMKIT_LOG",
        "What run logs if there is no --log, in the same words.",
    ),
];

pub(super) const KEYS: &[(&str, &str)] = &[
    ("Ctrl-a h", "Show what the keys do."),
    ("Ctrl-a x", "Quit: stop the guest at once."),
    ("Ctrl-a b", "Send a BREAK; the next key is a SysRq command."),
    ("Ctrl-a c", "Show the state of every part of the machine."),
    (
        "Ctrl-a t",
        "Begin each line of output with the time, or cease to.",
    ),
    (
        "Ctrl-a z",
        "Pause the guest and go back to the shell; fg goes on.",
    ),
    ("Ctrl-a Ctrl-a", "Send Ctrl-a to the guest."),
];
