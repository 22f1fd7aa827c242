//! Guests of 512 bytes: a boot sector that prints a text on COM1 and then does one thing. Real qemu runs them in a
//! third of a second.

/// What the guest does after its text. All end in an endless halt.
#[derive(Clone, Copy)]
pub enum Then {
    /// Nothing: `hlt; jmp`.
    Halt,
    /// Computes for ever.
    Spin,
    /// Listens to the power button and follows it: PM1 enable at 0x602, status at 0x600, control at 0x604, where
    /// the BIOS puts them on this board.
    ObeyPowerButton,
    /// Asks the BIOS for keys and prints each on COM1, as a boot loader's prompt does.
    EchoKeys,
    /// Switches itself off.
    PowerOff,
    /// Pulls the reset line through the keyboard controller.
    Reset,
    /// Writes itself to the disk's second sector, and switches itself off.
    WriteAndPowerOff,
    /// The same to a sector in another page of the file.
    WriteFarAndPowerOff,
    /// Fills all memory above the first megabyte, and goes on where there is none. For a disk only.
    EatMemory,
    /// Prints every byte that it reads from COM1.
    Echo,
}

const TEXT_AT: usize = 0x100;
/// What the BIOS copies by (int 0x15, ah = 0x87).
const TABLE_AT: usize = 0xb0;

/// A raw disk with such a guest on it; of 1 MiB, as the BIOS reads nothing from a disk of less than a cylinder.
pub fn disk(text: &str, then: Then) -> Vec<u8> {
    let mut disk = vec![0; 1 << 20];
    // cli; xor ax,ax; mov ds,ax; mov si,0x7d00
    disk[..512].copy_from_slice(&sector(
        [0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0xbe, 0x00, 0x7d],
        text,
        then,
    ));
    // Behind the text, a table with one partition from the third sector on, and the sign of a file system in it.
    assert!(
        TEXT_AT + text.len() + 2 <= 446,
        "the text does not fit next to a partition table"
    );
    disk[446..462].copy_from_slice(&[0x80, 0, 0, 0, 0x83, 0, 0, 0, 2, 0, 0, 0, 0xfe, 7, 0, 0]);
    disk[1024..1028].copy_from_slice(b"XFSB");
    disk
}

/// The same guest as a Linux kernel of the oldest kind, which qemu starts behind its first sector.
pub fn kernel(text: &str, then: Then) -> Vec<u8> {
    let mut kernel = vec![0; 64 * 1024];
    // cli; mov ax,cs; mov ds,ax; mov si,0x100
    let begin = [0xfa, 0x8c, 0xc8, 0x8e, 0xd8, 0xbe, 0x00, 0x01];
    kernel[512..1024].copy_from_slice(&sector(begin, text, then));
    kernel
}

/// The guest itself; it begins by finding its text.
fn sector(begin: [u8; 8], text: &str, then: Then) -> [u8; 512] {
    let mut code = begin.to_vec();
    // next: lodsb; test al,al; jz done; mov ah,al
    code.extend([0xac, 0x84, 0xc0, 0x74, 0x12, 0x88, 0xc4]);
    // wait: mov dx,0x3fd; in al,dx; test al,0x20; jz wait; mov al,ah; mov dx,0x3f8; out dx,al; jmp next
    code.extend([0xba, 0xfd, 0x03, 0xec, 0xa8, 0x20, 0x74, 0xf8]);
    code.extend([0x88, 0xe0, 0xba, 0xf8, 0x03, 0xee, 0xeb, 0xe9]);
    // mov dx,0x604; mov ax,0x2000; out dx,ax
    const POWER_OFF: [u8; 7] = [0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef];
    match then {
        Then::Halt => {}
        // again: jmp again
        Then::Spin => code.extend([0xeb, 0xfe]),
        Then::ObeyPowerButton => {
            // mov dx,0x602; mov ax,0x100; out dx,ax; again: mov dx,0x600; in ax,dx; test ah,1; jz again
            code.extend([0xba, 0x02, 0x06, 0xb8, 0x00, 0x01, 0xef]);
            code.extend([0xba, 0x00, 0x06, 0xed, 0xf6, 0xc4, 0x01, 0x74, 0xf7]);
            code.extend(POWER_OFF);
        }
        Then::EchoKeys => {
            // sti; again: mov ah,0; int 0x16; mov ah,al; mov dx,0x3fd
            code.extend([0xfb, 0xb4, 0x00, 0xcd, 0x16, 0x88, 0xc4, 0xba, 0xfd, 0x03]);
            // wait: in al,dx; test al,0x20; jz wait; mov al,ah; mov dx,0x3f8; out dx,al; jmp again
            code.extend([
                0xec, 0xa8, 0x20, 0x74, 0xfb, 0x88, 0xe0, 0xba, 0xf8, 0x03, 0xee, 0xeb, 0xea,
            ]);
        }
        Then::PowerOff => code.extend(POWER_OFF),
        // mov al,0xfe; out 0x64,al
        Then::Reset => code.extend([0xb0, 0xfe, 0xe6, 0x64]),
        Then::WriteAndPowerOff | Then::WriteFarAndPowerOff => {
            // The first track has 63 sectors: the first one of the second head is the 64th.
            let (sector, head) = match then {
                Then::WriteAndPowerOff => (2, 0),
                _ => (1, 1),
            };
            // xor ax,ax; mov es,ax; mov ax,0x301; mov bx,0x7c00; mov cx,SECTOR; mov dx,HEAD:0x80; sti; int 0x13
            code.extend([0x31, 0xc0, 0x8e, 0xc0, 0xb8, 0x01, 0x03, 0xbb, 0x00, 0x7c]);
            code.extend([0xb9, sector, 0x00, 0xba, 0x80, head, 0xfb, 0xcd, 0x13]);
            code.extend(POWER_OFF);
        }
        Then::EatMemory => {
            // xor ax,ax; mov es,ax
            code.extend([0x31, 0xc0, 0x8e, 0xc0]);
            // next: mov si,TABLE; mov cx,0x8000; mov ah,0x87; int 0x15: 64 KiB to where the table says
            code.extend([
                0xbe,
                TABLE_AT as u8,
                0x7c,
                0xb9,
                0x00,
                0x80,
                0xb4,
                0x87,
                0xcd,
                0x15,
            ]);
            // inc byte [third byte of the target's base]; jnz next; inc byte [the fourth]; jmp next
            code.extend([0xfe, 0x06, TABLE_AT as u8 + 0x1c, 0x7c, 0x75, 0xf0]);
            code.extend([0xfe, 0x06, TABLE_AT as u8 + 0x1f, 0x7c, 0xeb, 0xea]);
        }
        Then::Echo => {
            // next: mov dx,0x3fd; in al,dx; test al,1; jz next; mov dx,0x3f8; in al,dx; out dx,al; jmp next
            code.extend([0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xf8]);
            code.extend([0xba, 0xf8, 0x03, 0xec, 0xee, 0xeb, 0xf1]);
        }
    }
    // hlt; jmp to the hlt
    code.extend([0xf4, 0xeb, 0xfd]);
    let mut disk = [0; 512];
    disk[..code.len()].copy_from_slice(&code);
    // The BIOS leaves the cursor behind a line of its own.
    if matches!(then, Then::EatMemory) {
        // Six descriptors: of the third the source, of the fourth the target, 64 KiB each, at 0x7c00 and 1 MiB.
        disk[TABLE_AT + 0x10..][..8].copy_from_slice(&[0xff, 0xff, 0x00, 0x7c, 0x00, 0x93, 0, 0]);
        disk[TABLE_AT + 0x18..][..8].copy_from_slice(&[0xff, 0xff, 0x00, 0x00, 0x10, 0x93, 0, 0]);
    }
    let text = format!("\r\n{text}");
    assert!(TEXT_AT + text.len() < 510, "the text does not fit a boot sector");
    disk[TEXT_AT..TEXT_AT + text.len()].copy_from_slice(text.as_bytes());
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk
}
