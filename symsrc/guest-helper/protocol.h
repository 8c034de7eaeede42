/* What kvmprofs on the host and its small program in a guest say to each other over the virtio
 * serial port "org.kvmprofs.0". Included by both sides.
 *
 * Host to guest: lines of text, of at most PORT_LINE_MAX bytes with their newline. A byte 0xFF
 * (which no line holds) makes the guest forget what it has of a line.
 *
 *	{"execute":"guest-sync-delimited","arguments":{"id":ID}}
 *			begins a session, and ends the one before it, also in the middle of an
 *			answer. It is qemu-guest-agent's own line, with a 0xFF in front of it, so
 *			that the host need not know who listens. ID: 1 to 0x7f7f7f7f, drawn at
 *			random, each byte below 0x80. Answer: HELLO.
 *	have DIGEST...	blocks of kallsyms that the host has (blocks.h), as 16 hexadecimal digits
 *			each, blanks between them. No answer. Further lines add to the list, which
 *			holds PORT_HAVE_MAX; session and "get" end it. Since version 2.
 *	get NAME...	these files, in this order, names as in PORT_FILE_NAMES, blanks between
 *			them. Answer: STATE, as it was before; then for each file that the guest has
 *			FILE and DATA..., for "module_notes" as many FILEs as there are; END.
 *			Instead of END, or at any place before it, FAILED ends the answer. After
 *			"have" kallsyms comes by blocks: SAME stands for those that the host has,
 *			DATA is another one each, and SUM follows the last of them.
 *	list RELEASE	what there is below /lib/modules/RELEASE, as text (symsrc/lslist.h). Answer
 *			as to "get": STATE; FILE and DATA..., if it is there; END. Since version 2.
 *	read RELEASE PATH	one file below that, likewise.
 *	state		Answer: STATE.
 *
 * Lines outside a session are not answered. To one that is none of these the answer is FAILED.
 * After any of them (in version 1 after "get" alone) a STATE comes by itself whenever it has
 * changed: at once where the kernel tells of its modules, else within seconds. A request that comes
 * in the middle of an answer waits for its end.
 *
 * Guest to host: packets, numbers with their highest byte first:
 *
 *	0	4	PORT_MAGIC
 *	4	4	ID of the session
 *	8	4	count of the packets before this one in the session
 *	12	1	enum port_packet
 *	13	1	0
 *	14	2	n, the bytes of the payload
 *	16	4	CRC-32 (as zlib's) of bytes 0 to 15 and the payload
 *	20	n	payload
 *
 * The host looks for magic and ID together, whatever comes before them; from there on packet
 * follows packet, and whatever breaks magic, ID, count or CRC ends the session: bytes were lost,
 * or the guest was set back to an earlier moment.
 *
 * The only path that ever comes from the host is that of "list" and "read": names of a few signs,
 * none of them "." or "..". What is opened for it is a regular file or a directory that lies below
 * /lib/modules, for reading; a link is followed if it stands for a file there. All other names are
 * a fixed list.
 */
#ifndef KVMPROFS_GUEST_HELPER_PROTOCOL_H
#define KVMPROFS_GUEST_HELPER_PROTOCOL_H

#define PORT_NAME    "org.kvmprofs.0"
#define PORT_VERSION 2
#define PORT_OLDEST  1 /* that the host understands, too: it knows no "have" */

#define PORT_LINE_MAX	1280 /* in version 1: 256 */
#define PORT_HEAD	20
#define PORT_PACKET_MAX 32768 /* what Linux's virtio_console takes in one write */
#define PORT_DATA_MAX	(PORT_PACKET_MAX - PORT_HEAD)
#define PORT_HAVE_MAX	4096 /* blocks: twice what GUEST_KALLSYMS_MAX is of full ones */
#define PORT_DIGEST_LEN 16   /* of one, in a line */

#define PORT_MAGIC     "\xffKVP"
#define PORT_MAGIC_LEN 4
#define PORT_FIND_LEN  8 /* magic and ID */

enum port_packet {
	PORT_HELLO = 1, /* one byte: PORT_VERSION; more may follow in later versions */
	PORT_FILE,	/* one byte: enum port_file; for a module's note its name follows */
	PORT_DATA,	/* 1 to PORT_DATA_MAX bytes of the last FILE */
	PORT_END,	/* nothing */
	PORT_STATE,	/* PORT_STATE_LEN bytes; see below */
	PORT_FAILED,	/* text for people: what could not be done and why */
	PORT_SAME,	/* two numbers of 4 bytes: the first block of the host's list, counted from
			 * 0, and how many follow upon another there and here */
	PORT_SUM	/* of the last FILE: 4 bytes, the CRC-32 of all its bytes */
};
#define PORT_SAME_LEN 8
#define PORT_SUM_LEN  4

enum port_file {
	PORT_VERSION_FILE = 1, /* /proc/version */
	PORT_BOOT_ID,	       /* /proc/sys/kernel/random/boot_id */
	PORT_MODULES,	       /* /proc/modules */
	PORT_KALLSYMS,	       /* /proc/kallsyms */
	PORT_NOTES,	       /* /sys/kernel/notes */
	PORT_MODULE_NOTE,      /* /sys/module/NAME/notes/.note.gnu.build-id */
	PORT_LISTING,	       /* for "list" */
	PORT_MODULE_FILE,      /* for "read" */
	PORT_FILE_COUNT
};

/* By enum port_file, as "get" has them; 0: it does not. */
#define PORT_FILE_NAMES                                                                       \
	{                                                                                     \
		0, "version", "boot_id", "modules", "kallsyms", "notes", "module_notes", 0, 0 \
	}

/* STATE: the boot_id (PORT_BOOT_ID_LEN characters; zeros where the guest has none) and 8 bytes that
 * are others whenever modules have come or gone. Nothing else is in them for the host. */
#define PORT_BOOT_ID_LEN 36
#define PORT_STATE_LEN	 (PORT_BOOT_ID_LEN + 8)

#endif
