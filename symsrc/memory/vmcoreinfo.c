#include "symsrc/memory/vmcoreinfo.h"

#include <errno.h>
#include <string.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/text.h"

#define VALUE_MAX 128u /* a release's is the longest; what is longer is not understood */

/* One line, cut at its first '='. */
struct line {
	const char *name;
	size_t name_len;
	char value[VALUE_MAX]; /* a string */
};

/* Addresses, in hexadecimal without prefix. */
static const struct address_name {
	const char *name;
	size_t offset; /* in struct vmcoreinfo */
} address_names[] = {
	{"KERNELOFFSET", offsetof(struct vmcoreinfo, kernel_offset)},
	{"SYMBOL(_stext)", offsetof(struct vmcoreinfo, stext)},
	{"SYMBOL(init_uts_ns)", offsetof(struct vmcoreinfo, init_uts_ns)},
	/* The same table; kernels before 4.13 have the second name alone. */
	{"SYMBOL(init_top_pgt)", offsetof(struct vmcoreinfo, root)},
	{"SYMBOL(swapper_pg_dir)", offsetof(struct vmcoreinfo, root)},
	{"SYMBOL(kallsyms_names)", offsetof(struct vmcoreinfo, kallsyms_names)},
	{"SYMBOL(kallsyms_num_syms)", offsetof(struct vmcoreinfo, kallsyms_num_syms)},
	{"SYMBOL(kallsyms_token_table)", offsetof(struct vmcoreinfo, kallsyms_token_table)},
	{"SYMBOL(kallsyms_token_index)", offsetof(struct vmcoreinfo, kallsyms_token_index)},
	{"SYMBOL(kallsyms_offsets)", offsetof(struct vmcoreinfo, kallsyms_offsets)},
	{"SYMBOL(kallsyms_relative_base)", offsetof(struct vmcoreinfo, kallsyms_relative_base)},
};

static bool name_is(const struct line *l, const char *name)
{
	return l->name_len == strlen(name) && memcmp(l->name, name, l->name_len) == 0;
}

static void parse_phys_base(const char *value, struct vmcoreinfo *info)
{
	bool negative = value[0] == '-';
	uint64_t v;

	if (!text_to_u64(value + negative, 10, UINT64_MAX, &v))
		return;
	info->phys_base = negative ? 0 - v : v;
	info->has_phys_base = true;
}

static void parse_build_id(const char *value, struct build_id *ret)
{
	struct build_id id = {0};
	size_t len = strlen(value);
	char digits[3] = "";
	uint64_t byte;

	if (len % 2 != 0 || len > 2 * (size_t)BUILD_ID_MAX)
		return;
	for (; id.len < len / 2; id.len++) {
		memcpy(digits, value + 2 * (size_t)id.len, 2);
		if (!text_to_u64(digits, 16, UINT8_MAX, &byte))
			return;
		id.bytes[id.len] = (uint8_t)byte;
	}
	*ret = id;
}

/* False when it is none. */
static bool parse_address(const struct line *l, struct vmcoreinfo *info)
{
	uint64_t v;

	for (size_t i = 0; i < ARRAY_SIZE(address_names); i++) {
		if (!name_is(l, address_names[i].name))
			continue;
		if (text_to_u64(l->value, 16, UINT64_MAX, &v))
			memcpy((char *)info + address_names[i].offset, &v, sizeof(v));
		return true;
	}
	return false;
}

static void parse_line(const struct line *l, struct vmcoreinfo *info)
{
	if (parse_address(l, info))
		return;
	if (name_is(l, "OSRELEASE"))
		text_escape(info->release, sizeof(info->release), l->value, strlen(l->value));
	else if (name_is(l, "BUILD-ID"))
		parse_build_id(l->value, &info->build_id);
	else if (name_is(l, "NUMBER(phys_base)"))
		parse_phys_base(l->value, info);
	else if (name_is(l, "NUMBER(pgtable_l5_enabled)"))
		info->l5 = strcmp(l->value, "1") == 0;
}

/* The line at text, of len bytes. False when it is not NAME=VALUE. */
static bool split_line(const char *text, size_t len, struct line *ret)
{
	const char *equals = memchr(text, '=', len);
	size_t value_len;

	if (!equals)
		return false;
	value_len = len - (size_t)(equals + 1 - text);
	if (value_len >= VALUE_MAX)
		return false;
	ret->name = text;
	ret->name_len = (size_t)(equals - text);
	memcpy(ret->value, equals + 1, value_len);
	ret->value[value_len] = '\0';
	return true;
}

int vmcoreinfo_parse(const char *text, size_t n, struct vmcoreinfo *ret)
{
	static const char begin[] = "OSRELEASE=";
	struct vmcoreinfo info = {0};
	struct line line;
	const char *end;

	n = strnlen(text, n < VMCOREINFO_MAX ? n : VMCOREINFO_MAX);
	if (n < strlen(begin) || memcmp(text, begin, strlen(begin)) != 0)
		return -EBADMSG;
	/* The last line may be cut: without its end it is not believed. */
	for (; (end = memchr(text, '\n', n)); n -= (size_t)(end + 1 - text), text = end + 1) {
		if (split_line(text, (size_t)(end - text), &line))
			parse_line(&line, &info);
	}
	if (!info.stext)
		return -EBADMSG;
	*ret = info;
	return 0;
}
