/* The command has to run everywhere: under busybox ash and dash as well as bash, started by a
 * login shell that may be csh or fish. So the login shell gets one simple line, exec sh -c
 * '...', with neither a single quote nor a '!' nor a newline inside, and inside is plain POSIX
 * sh. Processes are few, since a guest may be emulated and fork slowly: one cat for each file
 * and one for all notes. /proc files are piped into gzip and not named to it: it trusts stat,
 * which says 0 bytes.
 */
#include "symsrc/ssh_script.h"

#include <stdbool.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/source_impl.h"
#include "symsrc/wire.h"

/* r NAME PATH: one frame; nothing when there is no such file. */
static const char functions[] = "r() { if [ -r \"$2\" ]; then echo \"$B $1\"; "
				"cat \"$2\" 2>/dev/null || echo \"$B failed${N}$2\"; fi; }; ";

/* A note that vanishes under cat makes the numbers differ, which frames.c sees. */
static const char module_notes[] = "set -- /sys/module/*/notes/.note.gnu.build-id; "
				   "if [ -r \"$1\" ]; then echo \"$B names\"; echo \"$*\"; "
				   "echo \"$B module_notes\"; cat \"$@\" 2>/dev/null; fi; ";

static const char run[] = "if command -v gzip >/dev/null 2>&1; then "
			  "echo \"$B " WIRE_GREETING_GZIP "\"; f | gzip -1c; else "
			  "echo \"$B " WIRE_GREETING_RAW "\"; f; fi";

/* In this order: what is asked twice (modules) encloses what takes long. */
static const struct {
	enum guest_file file;
	const char *frame;
	const char *path; /* NULL: the notes of the modules */
} steps[] = {
	{GUEST_FILE_VERSION, "version", "/proc/version"},
	{GUEST_FILE_BOOT_ID, "boot_id", "/proc/sys/kernel/random/boot_id"},
	{GUEST_FILE_KERNEL_NOTES, "notes", "/sys/kernel/notes"},
	{GUEST_FILE_MODULES, "modules", "/proc/modules"},
	{GUEST_FILE_MODULE_NOTE, NULL, NULL},
	{GUEST_FILE_KALLSYMS, "kallsyms", "/proc/kallsyms"},
};

static void begin(struct buf *b, const char *boundary)
{
	buf_printf(b,
		   "exec sh -c 'B=%s; N=\"$(echo; echo .)\"; N=\"${N%%.}\"; "
		   "PATH=\"$PATH:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin\"; export PATH; %s"
		   "f() { ",
		   boundary, functions);
}

static int end(struct buf *b)
{
	buf_printf(b, "echo \"$B end\"; }; %s'", run);
	return b->err;
}

int ssh_script(struct buf *b, unsigned want, const char *boundary)
{
	begin(b, boundary);
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		if (!(want & GUEST_FILE_BIT(steps[i].file)))
			continue;
		if (steps[i].path)
			buf_printf(b, "r %s %s; ", steps[i].frame, steps[i].path);
		else
			buf_append_str(b, module_notes);
	}
	if (want & GUEST_FILE_BIT(GUEST_FILE_MODULES) && want & GUEST_FILE_BIT(GUEST_FILE_KALLSYMS))
		buf_append_str(b, "r modules_again /proc/modules; ");
	return end(b);
}

/* The environment must not change what ls prints. ls follows links, which lead nowhere but into
 * the guest: it is the guest's own; its complaints about broken ones do not matter. */
static const char list_names[] =
	"set --; for x in *; do case $x in source|build) ;; *) set -- \"$@\" \"$x\";; esac; done; "
	"unset LS_BLOCK_SIZE BLOCK_SIZE BLOCKSIZE TIME_STYLE QUOTING_STYLE; LC_ALL=C; export "
	"LC_ALL; "
	"echo \"$B listing\"; ls -lnLR -- \"$@\" 2>/dev/null; echo; fi; ";

int ssh_script_list(struct buf *b, const char *release, const char *boundary)
{
	begin(b, boundary);
	buf_printf(b, "if cd /lib/modules/%s 2>/dev/null; then %s", release, list_names);
	return end(b);
}

int ssh_script_read(struct buf *b, const char *release, const char *path, const char *boundary)
{
	begin(b, boundary);
	buf_printf(b, "r file /lib/modules/%s/%s; ", release, path);
	return end(b);
}

int ssh_script_order(struct buf *b, const struct source_order *o, const char *boundary)
{
	if (!o->release)
		return ssh_script(b, o->want, boundary);
	if (!o->path)
		return ssh_script_list(b, o->release, boundary);
	return ssh_script_read(b, o->release, o->path, boundary);
}
