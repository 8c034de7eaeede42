#include "symsrc/memory/sights.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/text.h"
#include "symsrc/memory/ramscan.h"

#define LOW_END	 0xa0000u
#define ONE_MIB	 0x100000u
#define ROM_FROM 0xc0000u /* where firmware shadows option ROMs and itself */

#define BANNER_MAX 64u

/* With nothing but firmware or a boot loader to be seen, more than this is some system that is
 * not known here: they stay in memory below it. */
#define LOADER_BYTES_MAX ((uint64_t)1 << 30)

void sights_add(struct ram_sights *s, enum ram_sight sight, const char *name)
{
	char *dst = s->name[ffs((int)sight) - 1];

	if (s->seen & sight)
		return;
	s->seen |= sight;
	text_clean(dst, SIGHT_NAME_MAX, name, strlen(name));
}

static const char *name_of(const struct ram_sights *s, enum ram_sight sight)
{
	return s->name[ffs((int)sight) - 1];
}

/* ---- banners -------------------------------------------------------------------------------- */

/* A version behind the name: without it, the text is only about such a system. */
static const struct banner {
	const char *text;
	enum ram_sight sight;
	const char *name; /* what to put in front of the version */
} banners[] = {
	{"Linux version ", SIGHT_LINUX, "Linux "},
	{"FreeBSD ", SIGHT_BSD, "FreeBSD "},
	{"OpenBSD ", SIGHT_BSD, "OpenBSD "},
	{"NetBSD ", SIGHT_BSD, "NetBSD "},
};

static void note_banner(struct ram_sights *s, const struct banner *b, const char *version)
{
	char name[SIGHT_NAME_MAX] = "";
	size_t len = strlen(b->name), n = strcspn(version, " \n");

	memcpy(name, b->name, len);
	text_escape(name + len, sizeof(name) - len, version, n);
	sights_add(s, b->sight, name);
}

int sights_look_at_banner(struct ram_sights *s, struct ram *ram, uint64_t gpa)
{
	char text[BANNER_MAX + 1] = "";
	int r = ram_read(ram, gpa, text, BANNER_MAX);

	if (r < 0)
		return ramscan_may_go_on(r) ? 0 : r;
	for (size_t i = 0; i < ARRAY_SIZE(banners); i++) {
		size_t len = strlen(banners[i].text);

		if (strncmp(text, banners[i].text, len) == 0 && isdigit((unsigned char)text[len]))
			note_banner(s, &banners[i], text + len);
	}
	return 0;
}

/* ---- beginnings of pages -------------------------------------------------------------------- */

/* The page on which Windows starts its CPUs (PROCESSOR_START_BLOCK): a jump across its head, and
 * where that goes on: an address in the kernel, and a top page table. As forensic tools
 * (MemProcFS, Volatility) look for it. */
static bool is_windows_start(const uint64_t *page)
{
	return (page[0] & 0xffffffffffff00ffULL) == 0x00000001000600e9ULL &&
	       (page[0x70 / 8] & 0xfffff80000000003ULL) == 0xfffff80000000000ULL &&
	       page[0xa0 / 8] != 0 && !(page[0xa0 / 8] & 0xffffff0000000fffULL);
}

void sights_look_at_page(struct ram_sights *s, uint64_t gpa, const uint64_t *page)
{
	/* EFI_SYSTEM_TABLE_POINTER, which EDK II leaves for debuggers at a multiple of 4 MiB. */
	if (page[0] == SIGHT_WORD('I', 'B', 'I', ' ', 'S', 'Y', 'S', 'T'))
		sights_add(s, SIGHT_FIRMWARE, "UEFI");
	if (gpa < ONE_MIB && is_windows_start(page))
		sights_add(s, SIGHT_WINDOWS, "Windows");
}

/* ---- names anywhere ------------------------------------------------------------------------- */

/* Texts that are there once it runs, and not only where something is about it. */
static const struct pattern {
	const char *text;
	enum ram_sight sight;
	const char *name;
	uint64_t from, to; /* guest-physical */
} patterns[] = {
	{"Memtest86+ v", SIGHT_OTHER, "Memtest86+", 0, UINT64_MAX},
	{"LoaderInfo: systemd-boot", SIGHT_BOOT_LOADER, "systemd-boot", ONE_MIB, UINT64_MAX},
	{"Welcome to GRUB!", SIGHT_BOOT_LOADER, "GRUB", 0, UINT64_MAX},
	{"grub_disk_read", SIGHT_BOOT_LOADER, "GRUB", 0, UINT64_MAX},
	{"SYSLINUX ", SIGHT_BOOT_LOADER, "SYSLINUX", 0, UINT64_MAX},
	{"ISOLINUX ", SIGHT_BOOT_LOADER, "ISOLINUX", 0, UINT64_MAX},
	/* Not its ROM, which every guest with a network card has. */
	{"iPXE> ", SIGHT_BOOT_LOADER, "iPXE", ONE_MIB, UINT64_MAX},
	{"SeaBIOS", SIGHT_FIRMWARE, "SeaBIOS", ROM_FROM, ONE_MIB},
};

struct search {
	struct ram_sights *sights;
	uint64_t left; /* bytes of pages that hold something */
};

static bool is_zero(const uint64_t *words, size_t n_bytes)
{
	uint64_t any = 0;

	for (size_t i = 0; i < n_bytes / sizeof(*words); i++)
		any |= words[i];
	return any == 0;
}

/* What lies across the edge of a chunk is missed; it is a matter of a few texts of which there
 * are several each. */
static void search_text(struct ram_sights *s, uint64_t gpa, const uint64_t *words, size_t n)
{
	for (size_t i = 0; i < ARRAY_SIZE(patterns); i++) {
		const struct pattern *p = &patterns[i];

		if ((s->seen & p->sight) || gpa + n <= p->from || gpa >= p->to)
			continue;
		if (memmem(words, n, p->text, strlen(p->text)))
			sights_add(s, p->sight, p->name);
	}
}

static int search_chunk(void *ctx, uint64_t gpa, const uint64_t *words, size_t n)
{
	struct search *s = ctx;
	/* Below 1 MiB everything has its place: there, page by page. */
	size_t step = gpa < ONE_MIB ? RAM_PAGE : n;

	if (is_zero(words, n))
		return 0;
	for (size_t i = 0; i < n; i += step)
		search_text(s->sights, gpa + i, words + i / sizeof(*words), step);
	s->left -= n < s->left ? n : s->left;
	return s->left == 0 ? 1 : 0;
}

int sights_search(struct ram_sights *s, struct ram *ram, uint64_t bytes_max, uint64_t full_max)
{
	struct search search = {s, full_max};
	int r = ramscan(ram, bytes_max, search_chunk, &search);

	return r < 0 ? r : 0;
}

/* ---- in words ------------------------------------------------------------------------------- */

static int explain_system(const struct ram_sights *s, struct errmsg *why)
{
	enum ram_sight sight = s->seen & SIGHT_WINDOWS ? SIGHT_WINDOWS
			       : s->seen & SIGHT_OTHER ? SIGHT_OTHER
						       : SIGHT_BSD;

	if (s->seen & SIGHT_LINUX_32BIT)
		return errmsg_set(
			why, -ENOTSUP,
			"guest memory: it runs a 32-bit kernel (%s), of which only 64-bit "
			"ones are understood",
			name_of(s, SIGHT_LINUX_32BIT));
	return errmsg_set(why, -ENOTSUP, "guest memory: it runs %s, which is not Linux",
			  name_of(s, sight));
}

static int explain_linux(const struct ram_sights *s, struct errmsg *why)
{
	if (!s->running)
		return errmsg_set(why, -EAGAIN, "guest memory: no kernel yet: %s is just starting",
				  name_of(s, SIGHT_LINUX));
	return errmsg_set(why, -ENODATA,
			  "guest memory: %s runs, but has no symbols: it was built without "
			  "CONFIG_KALLSYMS",
			  name_of(s, SIGHT_LINUX));
}

static int explain_boot(const struct ram_sights *s, struct errmsg *why)
{
	if (s->bytes > LOADER_BYTES_MAX)
		return errmsg_set(why, -ENOENT,
				  "guest memory: %llu MiB in use, but no Linux kernel in them",
				  (unsigned long long)(s->bytes >> 20));
	if (s->seen & SIGHT_BOOT_LOADER)
		return errmsg_set(
			why, -EAGAIN,
			"guest memory: no kernel yet: the guest is in its boot loader, %s",
			name_of(s, SIGHT_BOOT_LOADER));
	return errmsg_set(
		why, -EAGAIN,
		"guest memory: no kernel yet: the guest is in its firmware, %s; if it stays "
		"there, it found nothing to boot",
		name_of(s, SIGHT_FIRMWARE));
}

int explain_sights(const struct ram_sights *s, struct errmsg *why)
{
	const unsigned other_systems = SIGHT_BSD | SIGHT_OTHER;

	if ((s->seen & (SIGHT_LINUX_32BIT | SIGHT_WINDOWS)) ||
	    ((s->seen & other_systems) && !(s->seen & SIGHT_LINUX)))
		return explain_system(s, why);
	if (s->seen & SIGHT_SWAPPED)
		return errmsg_set(why, -EBUSY,
				  "guest memory: what is needed is swapped out on the host; it is "
				  "left there");
	if (s->seen & SIGHT_LINUX)
		return explain_linux(s, why);
	if (s->seen & (SIGHT_BOOT_LOADER | SIGHT_FIRMWARE))
		return explain_boot(s, why);
	if (s->bytes == 0)
		return errmsg_set(why, -EAGAIN,
				  "guest memory: no kernel yet: nothing has been written to it");
	return errmsg_set(
		why, -ENOENT,
		"guest memory: %llu KiB in use, but nothing that is known in them: neither "
		"Linux nor firmware",
		(unsigned long long)(s->bytes >> 10));
}
