# shellcheck shell=bash
# The machine of tools/lab --vmx; sourced by it. Bochs emulates VT-x with EPT and unrestricted guest,
# and Debian's own kvm_intel runs on it.
#
# `vmmkit doctor` misses "debug step" there: Bochs 2.7 raises the #DB of RFLAGS.TF when it enters the guest, before the
# first instruction instead of behind it. Any program of KVM_SET_GUEST_DEBUG sees the same.

# shellcheck disable=SC2034 # for the caller
VMX_PACKAGES=(bochs bochs-term bochsbios vgabios grub-pc-bin grub-common xorriso mtools)

# vmx_machine MODEL MEMORY FOLDER KERNEL: sets VMX_MACHINE to a command that starts FOLDER/initrd. The
# console goes to FOLDER/console, COM2 to FOLDER/stdout, COM3 to FOLDER/stderr, each a file.
# shellcheck disable=SC2034 # VMX_MACHINE is for the caller
vmx_machine() {
    local model=$1 memory=$2 folder=$3 kernel=$4
    mkdir -p "$folder/iso/boot/grub"
    cp "$kernel" "$folder/iso/boot/vmlinuz"
    mv "$folder/initrd" "$folder/iso/boot/initrd"
    # Bochs' clock does not follow the wall's, and counts instructions: calibrating it takes minutes.
    cat >"$folder/iso/boot/grub/grub.cfg" <<GRUB
set timeout=0
menuentry lab {
    linux /boot/vmlinuz console=ttyS0 8250.nr_uarts=4 panic=-1 nokaslr mitigations=off nopti quiet lpj=4000000 tsc=reliable no_timer_check nosmp lab.serial
    initrd /boot/initrd
}
GRUB
    grub-mkrescue -o "$folder/l1.iso" "$folder/iso" >"$folder/grub" 2>&1 ||
        die "the lab's disc cannot be made" "run: grub-mkrescue -o l1.iso folder"
    rm -rf "$folder/iso"
    cat >"$folder/bochsrc" <<BOCHS
display_library: term
cpu: model=$model, count=1, ips=200000000, reset_on_triple_fault=1, ignore_bad_msrs=1
clock: sync=none, time0=utc
megs: $memory
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
ata0-master: type=cdrom, path=$folder/l1.iso, status=inserted
boot: cdrom
com1: enabled=true, mode=file, dev=$folder/console
com2: enabled=true, mode=file, dev=$folder/stdout
com3: enabled=true, mode=file, dev=$folder/stderr
log: -
panic: action=fatal
error: action=ignore
info: action=ignore
BOCHS
    # Debian's Bochs starts in its debugger, and its display wants a terminal.
    echo c >"$folder/rc"
    VMX_MACHINE=(env TERM=xterm script -qefc "exec bochs -q -f $folder/bochsrc -rc $folder/rc" "$folder/qemu")
}
