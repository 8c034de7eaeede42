/* What a symbol source is: it carries named files out of one guest, as bytes, before a deadline.
 *
 * This is the line between what needs privilege and what reads a stranger's bytes. Everything
 * behind this interface (connections, parsers of what comes over them) is given plain data
 * (struct source_target), gives plain data back (bytes into a sink), knows no perf, no
 * /proc/PID and no mount, and can be cancelled through a descriptor. It can therefore move
 * into a process of its own with a socket in between; see symsrc/fetch.h for the caller.
 *
 * A source is used by one thread at a time.
 */
#ifndef KVMPROFS_SOURCE_H
#define KVMPROFS_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "symsrc/base/blob.h"
#include "symsrc/base/buf.h"
#include "symsrc/base/errmsg.h"
#include "symsrc/guest.h"
#include "symsrc/modtree.h"

#define SOURCE_URI_MAX	2048
#define SOURCE_USED_MAX 256
#define SOURCE_NOTE_MAX 160
#define SOURCE_HOW_MAX	128

/* The files that a guest's symbols are made of, named as in the guest. */
enum guest_file {
	GUEST_FILE_VERSION,	 /* /proc/version */
	GUEST_FILE_BOOT_ID,	 /* /proc/sys/kernel/random/boot_id */
	GUEST_FILE_MODULES,	 /* /proc/modules */
	GUEST_FILE_KALLSYMS,	 /* /proc/kallsyms */
	GUEST_FILE_KERNEL_NOTES, /* /sys/kernel/notes */
	GUEST_FILE_MODULE_NOTE,	 /* /sys/module/NAME/notes/.note.gnu.build-id, many */
	GUEST_FILE_BTF,		 /* /sys/kernel/btf/vmlinux */
	/* The kernel's tables for unwinding stacks (arch/x86/kernel/unwind_orc.c): sections of
	 * its image, no files of a guest; only its memory has them. */
	GUEST_FILE_ORC_IP, /* .orc_unwind_ip */
	GUEST_FILE_ORC,	   /* .orc_unwind */
	/* These two are asked for by source_ops.list() and read(), never by fetch(). */
	GUEST_FILE_LISTING,   /* of /lib/modules/RELEASE (symsrc/lslist.h) */
	GUEST_FILE_MODULE_KO, /* one file below it */
	GUEST_FILE_COUNT
};
#define GUEST_FILE_BIT(f) (1u << (f))
#define GUEST_FILES_ALL	  ((1u << GUEST_FILE_COUNT) - 1)

/* The most bytes of each that are accepted; more ends the fetch with -EFBIG. */
#define GUEST_KALLSYMS_MAX (64u << 20)
#define GUEST_MODULES_MAX  (4u << 20)
#define GUEST_NOTES_MAX	   (64u << 10)
#define GUEST_VERSION_MAX  (4u << 10)
#define GUEST_BTF_MAX	   (32u << 20)
#define GUEST_ORC_MAX	   (32u << 20)
#define GUEST_LISTING_MAX  (16u << 20)
#define GUEST_KO_MAX	   (64u << 20)
#define GUEST_MODULES_MOST 4096 /* modules with a note */

/* Longest file name of this kind in the guest ("/proc/kallsyms"); for messages. */
const char *guest_file_path(enum guest_file file);
size_t guest_file_max(enum guest_file file);

/* Receives the files. Chunks of one file come in order and without another file between them;
 * a chunk may have any size. module is the module's name for GUEST_FILE_MODULE_NOTE, else
 * NULL. begin is called once per file, also for an empty one. A negative return ends the fetch
 * with that error. */
struct source_sink {
	int (*begin)(void *ctx, enum guest_file file, const char *module);
	int (*data)(void *ctx, const void *bytes, size_t n);
	void *ctx;
};

/* When to give up, and how to hear of an order to stop: cancel_fd (or -1) becomes readable. */
struct source_limits {
	uint64_t deadline_ns; /* clock_now_ns() */
	int cancel_fd;
	/* How long to wait for the guest's first byte; 0: as long as the source finds right.
	 * Short where many guests wait for their first turn, so that dead ones cost little. One
	 * that falls silent later is given up after a few times as long. */
	unsigned answer_ms;
	/* Only what costs next to nothing: a source that can tell by little work that there is
	 * nothing to be had yet says so (-EAGAIN) and leaves the thorough look for later. */
	bool quick;
	/* The guest, or its VMM, began to run a moment ago: a source that sees it boot need not
	 * look for another way (-EAGAIN), since nobody in it answers yet. */
	bool booting;
	/* It did so after a boot of which nothing is known, whose remains may still be there: only
	 * what is seen to run is believed. */
	bool remains;
};

struct vmmram; /* symsrc/vmmram.h */

/* What a source may know of the guest: a copy of plain data, and descriptors (struct vmmram):
 * nothing that could not be sent over a socket. */
struct source_target {
	pid_t pid;
	char name[GUEST_NAME_MAX];
	char uuid[37]; /* empty: not known */
	struct guest_links links;
	struct guest_kernel kernel; /* what is known of it besides */
	struct vmmram *ram;	    /* its RAM, not owned; NULL: not to be had, ram_why says why */
	struct errmsg ram_why;	    /* code 0: nobody has tried */
	/* Addresses that were sampled in its kernel, distinct, not owned: what a source has asked
	 * for that wants_sampled. */
	const uint64_t *sampled;
	size_t sampled_count;
};

/* By what a source recognises the boot whose symbols it fetched. Only the source that made it
 * looks into it. len 0: none. */
#define SOURCE_MARK_MAX 512
struct source_mark {
	size_t len;
	uint8_t bytes[SOURCE_MARK_MAX];
};

/* What a look at a guest finds. */
enum source_news {
	SOURCE_SAME,
	SOURCE_CHANGED, /* the same boot, but its modules have changed */
	SOURCE_REBOOTED /* another boot */
};

/* What a fetch has tried: each way into the guest, in that order. For people; what is text here is
 * clean (text_clean()). */
#define SOURCE_TRIED_MAX 8
struct source_attempt {
	char way[SOURCE_USED_MAX]; /* transport and address: "ssh://root@127.0.0.1:2201" */
	struct errmsg why;	   /* code 0: it worked */
	uint64_t took_ns;
};
struct source_attempts {
	size_t count;
	struct source_attempt list[SOURCE_TRIED_MAX];
};

/* Adds one, or leaves it off when there are too many. uri: is shown whole. code: what came of it;
 * why may be NULL, or empty. */
void source_attempts_add(struct source_attempts *a, const char *uri, int code,
			 const struct errmsg *why, uint64_t took_ns);

struct source;
struct serial_ear;

struct source_ops {
	const char *scheme;
	/* Brings the wanted files (GUEST_FILE_BIT()s; the others may come too). Blocks until
	 * they are all there (0), the deadline (-ETIMEDOUT), a cancel (-ECANCELED), or another
	 * error, which why explains in one line. A file that the guest does not have is left
	 * out, which is no error. An error after some data makes all of it void. -EAGAIN: there is
	 * nothing yet; a moment later there may be. */
	int (*fetch)(struct source *s, unsigned want, const struct source_limits *limits,
		     const struct source_sink *sink, struct errmsg *why);
	void (*destroy)(struct source *s);
	/* Whether something has changed since the fetch that made s->mark, much cheaper than a
	 * fetch. An enum source_news, or negative errno and why; -ENOSYS, or NULL: by its files
	 * (symsrc/filemark.h), which the caller does. */
	int (*look)(struct source *s, const struct source_limits *limits, struct errmsg *why);
	/* What the guest has below /lib/modules/RELEASE, into the builder that was made for that
	 * release. 0, -ENOENT when it has none, or as fetch(). NULL: this source cannot. */
	int (*list)(struct source *s, const char *release, const struct source_limits *limits,
		    struct modtree_builder *to, struct errmsg *why);
	/* One of these files, whole, into an empty buffer: by the path that modtree_path() says.
	 * 0, -ENOENT, -EFBIG above GUEST_KO_MAX, or as fetch(). Comes with list(). */
	int (*read)(struct source *s, const char *release, const char *path,
		    const struct source_limits *limits, struct buf *to, struct errmsg *why);
};

/* Each source begins with this. */
struct source {
	const struct source_ops *ops;
	/* What it really used, for `info`: "ssh://root@127.0.0.1:2201". Set by a fetch that
	 * worked, and by one whose bytes its sink refused, to say whose they were. A caller may put
	 * in what an earlier source for this guest had set: a source that has several ways begins
	 * with that one. */
	char used[SOURCE_USED_MAX];
	/* How, in a few words for `info`; empty: nothing to be said. Likewise. */
	char how[SOURCE_HOW_MAX];
	/* What is missing, or did not work, though the fetch worked, in one line for `info`; empty:
	 * nothing. */
	char note[SOURCE_NOTE_MAX];
	bool partial; /* likewise: the note is of symbols that are missing */
	/* Set by a fetch, whatever comes of it: sampled addresses would help it (struct
	 * source_target). */
	bool wants_sampled;
	/* Set by a fetch that worked: whether these are the guest's symbols stands on the user's
	 * word alone, and sampled addresses may prove that it is wrong. */
	bool unproven;
	/* Set by a fetch that worked, where look() wants it. A caller may put in what an earlier
	 * one had set, for look(), which brings it up to date; and for fetch() in dead: the mark of
	 * a boot that is known to be over, so that its remains are not taken for the next one. A
	 * fetch, whatever comes of it, may note in dead what it has learnt: hand it to the next
	 * one. */
	struct source_mark mark, dead;
	/* The kallsyms of the same boot that a caller has already, not owned; NULL: none. A source
	 * may know how to bring over only what has changed; it delivers all of it nonetheless. */
	const struct blob *had;
	/* Set by a fetch or a look that worked, where the guest tells by itself that something has
	 * changed (symsrc/serial_turn.h). A caller may take it. */
	struct serial_ear *ear;
	/* By a source that has several ways: what its last fetch tried. */
	struct source_attempts tried;
	/* Likewise: a set of ways, of which it alone knows the meaning. A caller to whom `spoilt`
	 * says that one of them has failed after it had delivered something, while there are
	 * others, puts that into `skip` for another fetch, into another sink. */
	unsigned spoilt, skip;
};

/* Makes the source that the URI names for this target:
 *	auto[?QUERY]			whatever the guest's links offer (source_auto.c)
 *	ssh://[user@]host[:port][?QUERY]	user: root; port: 22
 *	vsock:CID[:port][?QUERY]		ssh by AF_VSOCK; likewise
 *	memory				out of the guest's RAM (source_memory.c)
 *	virtio-serial:SOCKET[?modules=yes]	the VMM's end of a serial port of the guest, where
 *					qemu-guest-agent answers, or symsrc/guest-helper
 *	dir:PATH[?modules=yes]		PATH/proc/kallsyms and so on
 *	kallsyms:PATH[,modules:PATH]
 *	vmlinux:PATH[,slide:HEX]	the kernel's ELF file, with symbols (source_vmlinux.c)
 *	none:WHY			none, for that reason
 * QUERY is NAME=VALUE joined by '&', for what ssh needs (%XX stands for a byte):
 *	identity=FILE		this private key alone; else ssh-agent and the usual files in
 *				~/.ssh. A key with a passphrase cannot be used: nobody is
 *				there to be asked.
 *	known_hosts=FILE	instead of ~/.ssh/known_hosts
 *	config=FILE		read this ssh_config(5); "yes": ~/.ssh/config and
 *				/etc/ssh/ssh_config. HostName, Port, User, the first
 *				IdentityFile, UserKnownHostsFile and the algorithms count; a
 *				ProxyCommand or ProxyJump is refused, since nothing is executed
 *				here, and host keys are checked whatever StrictHostKeyChecking says.
 *	modules=yes		serve its /lib/modules/RELEASE, too
 * Connects to nothing yet. 0 and *ret, or negative errno: -EINVAL for an unknown or malformed
 * URI. */
int source_create(const char *uri, const struct source_target *target, struct source **ret,
		  struct errmsg *why);
void source_destroy(struct source *s); /* accepts NULL */

/* Whether a source of this URI needs no guest that runs: files of this host. */
bool source_is_saved(const char *uri);

/* Whether it is "none:WHY", which was made up for a guest that has no source. */
bool source_is_none(const char *uri);

/* Whether a source of this URI may want the guest's RAM (struct source_target.ram). */
bool source_wants_ram(const char *uri);

/* Whether a source of this URI, which is well-formed, is asked for /lib/modules, too. */
bool source_wants_modules(const char *uri);

/* Checks a URI without a guest, for the command line and the configuration file. */
int source_check_uri(const char *uri, struct errmsg *why);

#endif
