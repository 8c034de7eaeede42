#include "profiler/perfdata/cached.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "profiler/perfdata/format.h"
#include "symsrc/base/cleanup.h"
#include "symsrc/vmlinux.h"

#define LINE_MAX_BYTES 1024

/* What a kallsyms says of what the recording says, too. */
struct comparison {
	const struct recording_guest *maps;
	const struct recording_map *kernel;
	bool reference_fits, reference_differs;
	unsigned modules_fit, modules_differ; /* symbols */
};

static const struct recording_map *module_map(const struct recording_guest *maps,
					      const char *in_brackets)
{
	for (size_t i = 0; i < maps->map_count; i++) {
		if (!maps->maps[i].kernel && strcmp(maps->maps[i].name, in_brackets) == 0)
			return &maps->maps[i];
	}
	return NULL;
}

/* "address type name [module]" */
static void compare_line(struct comparison *c, const char *line)
{
	char name[512], module[64];
	uint64_t address;
	int n = sscanf(line, "%" SCNx64 " %*c %511s %63s", &address, name, module);
	const struct recording_map *m = n == 3 ? module_map(c->maps, module) : NULL;

	if (n == 2 && strcmp(name, c->kernel->symbol) == 0) {
		c->reference_fits |= address == c->kernel->symbol_at;
		c->reference_differs |= address != c->kernel->symbol_at;
	}
	/* The parts that are only needed while a module begins lie elsewhere. */
	if (m && address >= m->start && address < m->end)
		c->modules_fit++;
	else if (m)
		c->modules_differ++;
}

static bool compare_file(struct comparison *c, const char *path)
{
	CLEANUP_FILE FILE *f = fopen(path, "re");
	char line[LINE_MAX_BYTES];

	while (f && fgets(line, sizeof(line), f))
		compare_line(c, line);
	return f && !ferror(f);
}

/* Why the kallsyms is not this guest's; NULL: it is. */
static const char *doubt(const struct recording *r, const struct recording_guest *maps,
			 const char *path)
{
	struct comparison c = {.maps = maps, .kernel = recording_kernel_map(maps)};

	if (!c.kernel)
		return "the recording does not say where the guest's kernel lay";
	if (!compare_file(&c, path))
		return "it cannot be read";
	if (!c.reference_fits || c.reference_differs)
		return "it is of another kernel, most likely the host's, which perf stores there";
	if (c.modules_differ > c.modules_fit)
		return "its modules lie elsewhere: it is most likely the host's, which perf stores "
		       "there";
	if (c.kernel->symbol_at == r->host_symbol_at && !c.modules_fit)
		return "it may be the host's, which perf stores there and which lies at the same "
		       "address";
	return NULL;
}

static bool is_file(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static bool has_id(const char *path, const struct build_id *id)
{
	struct vmlinux v;
	bool same;

	if (vmlinux_open(path, &v, NULL) < 0)
		return false;
	same = v.id.len == id->len && memcmp(v.id.bytes, id->bytes, id->len) == 0;
	vmlinux_close(&v);
	return same;
}

/* An ELF file below the build-id's folder. */
static bool elf_source(const struct build_id *id, const char *folder, char *uri, size_t size)
{
	static const char *const names[] = {"vmlinux", "debug", "elf"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		char path[GUEST_PATH_MAX];

		snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
		if (!is_file(path) || !has_id(path, id))
			continue;
		snprintf(uri, size, "vmlinux:%s", path);
		return true;
	}
	return false;
}

/* perf writes build-ids last. Where it had a --guestmount it knows where the guest's kernel lay. */
static const char *why_no_id(const struct recording *r, const struct recording_guest *g)
{
	if (r->facts.end != PERFDATA_WHOLE)
		return "the recording breaks off before the build-id of this guest's kernel";
	if (recording_kernel_map(recording_maps_of(r, g)))
		return "the recording has no build-id of this guest's kernel";
	return "the recording has no build-id of this guest's kernel (perf kvm --guestmount record "
	       "has)";
}

void cached_source(const struct recording *r, const struct recording_guest *g, const char *dir,
		   char *uri, size_t size)
{
	const struct recording_build_id *b = recording_kernel_id(g);
	char hex[BUILD_ID_HEX_SIZE], folder[GUEST_PATH_MAX / 2], path[GUEST_PATH_MAX];
	const char *why;

	if (!b) {
		snprintf(uri, size,
			 "none:%s: say with -s where its symbols are, dir:, kallsyms: or vmlinux:",
			 why_no_id(r, g));
		return;
	}
	build_id_to_hex(&b->id, hex);
	snprintf(folder, sizeof(folder), "%s/.build-id/%.2s/%s", dir, hex, hex + 2);
	snprintf(path, sizeof(path), "%s/kallsyms", folder);
	why = is_file(path) ? doubt(r, recording_maps_of(r, g), path) : "there is none";
	if (!why)
		snprintf(uri, size, "kallsyms:%s", path);
	else if (!elf_source(&b->id, folder, uri, size))
		snprintf(uri, size,
			 "none:%s is not used, since %s: say with -s where the guest's symbols "
			 "are, dir:, kallsyms: or vmlinux:",
			 path, why);
}
