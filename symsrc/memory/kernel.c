#include "symsrc/memory/kernel.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/memory/kernel_impl.h"

#define CHUNK (16u << 10)

/* ---- reading -------------------------------------------------------------------------------- */

/* A range between two symbols: its bytes, or 0 when it is not there or more than max. */
static size_t range_of(const struct kernel *k, enum kernel_symbol start, enum kernel_symbol stop,
		       size_t max)
{
	uint64_t from = k->at[start], to = k->at[stop];

	return from && to > from && to - from <= max ? (size_t)(to - from) : 0;
}

static int read_btf(struct kernel *k)
{
	size_t n = range_of(k, KERNEL_START_BTF, KERNEL_STOP_BTF, GUEST_BTF_MAX);

	if (n == 0)
		return -ENOENT;
	k->btf = malloc(n);
	if (!k->btf)
		return -ENOMEM;
	k->btf_len = n;
	return image_read(k->ram, &k->mark.image, k->at[KERNEL_START_BTF], k->btf, n);
}

/* Notes why there are core symbols alone; what is not the guest's fault is an error. */
static int lack(struct kernel *k, int r, const struct errmsg *why)
{
	if (r != -ENOENT && r != -EBADMSG && r != -EFAULT && r != -ENXIO)
		return r;
	errmsg_set(&k->partial, r, "%s", why->text);
	return 0;
}

static int read_structs(struct kernel *k, struct kstructs *ret, struct errmsg *why)
{
	int r = read_btf(k);

	if (r == -ENOENT)
		return errmsg_set(why, r, "the kernel has no BTF (CONFIG_DEBUG_INFO_BTF)");
	if (r < 0)
		return ram_explain(r, why);
	return kstructs_from_btf(k->btf, k->btf_len, ret, why);
}

/* free_module() is there in every kernel that can load modules; the list itself is data, which
 * kallsyms has by CONFIG_KALLSYMS_ALL only. */
static int read_modules(struct kernel *k, struct errmsg *why)
{
	struct kstructs structs;
	int r;

	if (!k->roots.va[KMODULES_ROOT_MODULES]) {
		if (!k->at[KERNEL_FREE_MODULE])
			return 0; /* CONFIG_MODULES=n: nothing is missing */
		return errmsg_set(why, -ENOENT,
				  "its kallsyms has functions alone (CONFIG_KALLSYMS_ALL)");
	}
	r = read_structs(k, &structs, why);
	if (r < 0)
		return r;
	paging_init(&k->paging, k->ram, k->mark.image.root, k->mark.image.levels);
	r = kmodules_read(&k->paging, &structs, &k->roots, &k->modules, why);
	if (r == 0)
		kmodules_get_mark(k->modules, &k->mark.modules);
	return r;
}

int kernel_read(struct ram *ram, struct kernel_mark *dead, bool quick, struct kernel **ret,
		struct errmsg *why)
{
	struct kernel *k = NULL;
	struct errmsg e = {0};
	int r = kernel_pick(ram, dead, quick, &k, why);

	if (r < 0)
		return r;
	r = read_modules(k, &e);
	if (r < 0)
		r = lack(k, r, &e);
	if (r < 0) {
		kernel_destroy(k);
		return e.code ? errmsg_set(why, r, "%s", e.text) : r;
	}
	*ret = k;
	return 0;
}

void kernel_destroy(struct kernel *k)
{
	if (!k)
		return;
	ksyms_destroy(k->ksyms);
	kmodules_destroy(k->modules);
	free(k->btf);
	free(k);
}

bool kernel_is_whole(const struct kernel *k, struct errmsg *why)
{
	if (k->partial.code && why)
		*why = k->partial;
	return k->partial.code == 0;
}

static const char *way_name(enum kernel_way way)
{
	switch (way) {
	case KERNEL_BY_TRAMPOLINE: return "trampoline";
	case KERNEL_BY_VMCOREINFO: return "vmcoreinfo";
	case KERNEL_BY_SIGNATURE: return "signature";
	}
	return "?";
}

void kernel_describe(const struct kernel *k, char *dst, size_t size)
{
	snprintf(dst, size, "%s; kallsyms %s, %u anchors; %u-level page tables",
		 way_name(k->candidate.way), ksyms_layout(k->ksyms), ksyms_anchors(k->ksyms),
		 k->mark.image.levels);
}

void kernel_get_mark(const struct kernel *k, struct kernel_mark *ret)
{
	*ret = k->mark;
}

uint64_t kernel_text(const struct kernel *k)
{
	return k->mark.image.va;
}

int kernel_build_id(const struct kernel *k, struct build_id *ret)
{
	size_t n = range_of(k, KERNEL_START_NOTES, KERNEL_STOP_NOTES, GUEST_NOTES_MAX);
	CLEANUP_FREE char *notes = NULL;
	int r;

	if (n == 0)
		return -ENOENT;
	notes = malloc(n);
	if (!notes)
		return -ENOMEM;
	r = image_read(k->ram, &k->mark.image, k->at[KERNEL_START_NOTES], notes, n);
	if (r == 0 && notes_build_id(notes, n, ret) < 0)
		r = -ENOENT;
	return r;
}

/* ---- delivering ----------------------------------------------------------------------------- */

struct delivery {
	struct kernel *k;
	const struct source_sink *sink;
	struct errmsg *why;
};

static int put(const struct delivery *d, enum guest_file file, const void *bytes, size_t n)
{
	int r = d->sink->begin(d->sink->ctx, file, NULL);

	return r < 0 ? r : d->sink->data(d->sink->ctx, bytes, n);
}

/* linux_banner is what /proc/version prints of, in other words (init/version.c). */
static int put_version(const struct delivery *d)
{
	const struct kernel *k = d->k;
	char text[1024];
	size_t n;
	int r;

	if (!k->at[KERNEL_LINUX_BANNER])
		return 0;
	r = image_read(k->ram, &k->mark.image, k->at[KERNEL_LINUX_BANNER], text, sizeof(text));
	if (r < 0)
		return ram_explain(r, d->why);
	n = strnlen(text, sizeof(text));
	if (n == sizeof(text))
		return 0;
	return put(d, GUEST_FILE_VERSION, text, n);
}

/* As %pU prints it (lib/vsprintf.c): nothing before somebody has asked for it in the guest. */
static int put_boot_id(const struct delivery *d)
{
	const struct kernel_birth *b = &d->k->mark.births[0];
	const uint8_t *u = b->bytes;
	char text[64] = "";
	size_t n = 0;

	if (!b->va || u[8] == 0)
		return 0;
	for (size_t i = 0; i < 16; i++) {
		const char *dash = i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "";

		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%02x", dash, u[i]);
	}
	text[n++] = '\n';
	return put(d, GUEST_FILE_BOOT_ID, text, n);
}

/* The bytes between two symbols, as a file. */
static int put_range(const struct delivery *d, enum guest_file file, enum kernel_symbol start,
		     enum kernel_symbol stop)
{
	const struct kernel *k = d->k;
	size_t left = range_of(k, start, stop, guest_file_max(file));
	uint64_t at = k->at[start];
	char chunk[CHUNK];
	int r;

	if (left == 0)
		return 0;
	r = d->sink->begin(d->sink->ctx, file, NULL);
	while (r == 0 && left > 0) {
		size_t n = left < CHUNK ? left : CHUNK;

		r = image_read(k->ram, &k->mark.image, at, chunk, n);
		if (r < 0)
			return ram_explain(r, d->why);
		r = d->sink->data(d->sink->ctx, chunk, n);
		at += n;
		left -= n;
	}
	return r;
}

static int put_modules(const struct delivery *d)
{
	return d->k->modules ? kmodules_deliver_modules(d->k->modules, d->sink) : 0;
}

static int put_module_notes(const struct delivery *d)
{
	return d->k->modules ? kmodules_deliver_notes(d->k->modules, d->sink) : 0;
}

int kernel_put_module_symbols(const struct kernel *k, const struct source_sink *sink)
{
	return k->modules ? kmodules_deliver_kallsyms(k->modules, sink) : 0;
}

static int put_kallsyms(const struct delivery *d)
{
	int r = d->sink->begin(d->sink->ctx, GUEST_FILE_KALLSYMS, NULL);

	if (r == 0)
		r = ksyms_deliver(d->k->ksyms, d->sink);
	return r < 0 ? r : kernel_put_module_symbols(d->k, d->sink);
}

static int put_notes(const struct delivery *d)
{
	return put_range(d, GUEST_FILE_KERNEL_NOTES, KERNEL_START_NOTES, KERNEL_STOP_NOTES);
}

static int put_btf(const struct delivery *d)
{
	const struct kernel *k = d->k;

	if (k->btf)
		return put(d, GUEST_FILE_BTF, k->btf, k->btf_len);
	return put_range(d, GUEST_FILE_BTF, KERNEL_START_BTF, KERNEL_STOP_BTF);
}

static int put_orc_ip(const struct delivery *d)
{
	return put_range(d, GUEST_FILE_ORC_IP, KERNEL_START_ORC_IP, KERNEL_STOP_ORC_IP);
}

static int put_orc(const struct delivery *d)
{
	return put_range(d, GUEST_FILE_ORC, KERNEL_START_ORC, KERNEL_STOP_ORC);
}

static const struct part {
	enum guest_file file;
	int (*put)(const struct delivery *d);
} parts[] = {
	{GUEST_FILE_VERSION, put_version},
	{GUEST_FILE_BOOT_ID, put_boot_id},
	{GUEST_FILE_KERNEL_NOTES, put_notes},
	{GUEST_FILE_MODULES, put_modules},
	{GUEST_FILE_MODULE_NOTE, put_module_notes},
	{GUEST_FILE_KALLSYMS, put_kallsyms},
	{GUEST_FILE_BTF, put_btf},
	{GUEST_FILE_ORC_IP, put_orc_ip},
	{GUEST_FILE_ORC, put_orc},
};

/* The parts were read one after the other. A clock that went back, in the same boot or not, has
 * parted them. */
static int check_boot(struct kernel *k, struct errmsg *why)
{
	struct kernel_mark mark = k->mark;
	int r = kernel_look(k->ram, &mark);

	if (r == KERNEL_REBOOTED || (r >= 0 && mark.jiffies < k->mark.jiffies))
		return errmsg_set(why, -EAGAIN, "guest memory: the guest rebooted meanwhile");
	return r < 0 ? ram_explain(r, why) : 0;
}

int kernel_deliver(struct kernel *k, unsigned want, const struct source_sink *sink,
		   struct errmsg *why)
{
	const struct delivery d = {k, sink, why};
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(parts); i++) {
		if (want & GUEST_FILE_BIT(parts[i].file))
			r = parts[i].put(&d);
	}
	return r < 0 ? r : check_boot(k, why);
}
