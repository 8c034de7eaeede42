/* Everything that was fetched out of one boot of a guest: the texts, and the table made of
 * them. Immutable once made and reference-counted; read from any thread without a lock.
 */
#ifndef KVMPROFS_SYMBOLS_H
#define KVMPROFS_SYMBOLS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "symsrc/base/blob.h"
#include "symsrc/base/blobpool.h"
#include "symsrc/base/errmsg.h"
#include "symsrc/modules.h"
#include "symsrc/notes.h"
#include "symsrc/retired.h"
#include "symsrc/source.h"
#include "symsrc/symtab.h"

struct symbols_module {
	char name[MODULE_NAME_MAX];
	struct build_id id;
	struct blob *note; /* .note.gnu.build-id as the guest has it */
};

struct symbols {
	atomic_uint refs;
	struct blob *kallsyms; /* byte for byte; also the table's arena */
	struct blob *modules;  /* byte for byte; NULL: not to be had */
	struct blob *version;  /* /proc/version; NULL likewise */
	struct blob *notes;    /* /sys/kernel/notes; NULL likewise */
	struct blob *btf;      /* /sys/kernel/btf/vmlinux; NULL likewise */
	struct blob *orc_ip;   /* .orc_unwind_ip and .orc_unwind of the kernel (GUEST_FILE_ORC); */
	struct blob *orc;      /* NULL likewise */
	struct symtab *table;
	const struct retired *retired; /* names of what has gone from this boot; NULL: nothing */
	char boot_id[37];	       /* empty: not known */
	char release[128];	       /* the word after "Linux version "; empty: not known */
	struct build_id kernel_id;
	size_t module_count;		    /* those with a build-id note */
	struct symbols_module *module_list; /* in the order of modules */
	uint64_t fetched_ns;		    /* clock_now_ns(), when it was complete */
	uint64_t fetch_took_ns;
	char used[SOURCE_USED_MAX]; /* these six: struct source */
	char how[SOURCE_HOW_MAX];
	char note[SOURCE_NOTE_MAX];
	bool partial;
	bool unproven;
	struct source_mark mark;
};

const struct symbols *symbols_get(const struct symbols *s); /* accepts NULL */
void symbols_put(const struct symbols *s);		    /* accepts NULL */

/* What it takes, in bytes; of what it shares with others its part. */
size_t symbols_size(const struct symbols *s);

/* Has these symbols, which nobody else knows yet, share what other guests' have in common with
 * them, byte for byte: BTF, ORC tables and notes of guests with the same kernel; and where it runs
 * at the same addresses with the same modules (microVMs, snapshots, nokaslr) the text of kallsyms
 * and the table, which is nearly all. The modules' notes, some dozens of bytes each, are not worth
 * it. */
void symbols_share(struct symbols *s, struct blobpool *pool);

/* Collects what a source delivers: its sink feeds the parsers as the bytes arrive. The fetch is
 * timed from create to finish. GUEST_FILE_MODULES and GUEST_FILE_BOOT_ID may come twice, before and
 * after kallsyms, to notice a change in between; the others come once. */
struct symbols_builder;
struct symbols_builder *symbols_builder_create(void);
void symbols_builder_destroy(struct symbols_builder *b); /* accepts NULL */
struct source_sink symbols_builder_sink(struct symbols_builder *b);

/* What the source really used (struct source.used): stands in the result. */
void symbols_builder_set_used(struct symbols_builder *b, const char *used);

/* Checks that all is whole and fits together, and makes the result (one reference). Negative
 * errno and why: -EBADMSG (not whole, malformed; -EBADMSG also for what the sink refused),
 * -EACCES (addresses hidden), -ENOENT (no kallsyms), -EAGAIN (modules changed meanwhile, or the
 * guest has booted: fetch again), -ENOMEM. The builder is only to be destroyed afterwards. */
int symbols_builder_finish(struct symbols_builder *b, const struct symbols **ret,
			   struct errmsg *why);

/* What the sink had to say when it refused, or an empty line. */
const struct errmsg *symbols_builder_error(const struct symbols_builder *b);

#endif
