#include "profiler/registers.h"

#include <errno.h>
#include <string.h>

/* What is known of the CPU whose lines are being read. */
struct cpu_lines {
	struct registers regs;
	bool has_ip;
	bool has_base;
	bool wide; /* 64-bit code: segments count from 0 */
	uint64_t base;
};

struct span {
	const char *at;
	size_t n;
};

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return 16;
}

/* The number at the beginning of s, which is moved behind it. False when there is none or it
 * has more than 16 digits. */
static bool take_number(struct span *s, int base, uint64_t *ret)
{
	uint64_t value = 0;
	size_t i = 0;

	for (; i < s->n && digit(s->at[i]) < base; i++) {
		if (i == 16)
			return false;
		value = value * (uint64_t)base + (uint64_t)digit(s->at[i]);
	}
	if (i == 0)
		return false;
	s->at += i;
	s->n -= i;
	*ret = value;
	return true;
}

static bool take_prefix(struct span *s, const char *prefix)
{
	size_t n = strlen(prefix);

	if (s->n < n || memcmp(s->at, prefix, n) != 0)
		return false;
	s->at += n;
	s->n -= n;
	return true;
}

/* The one digit behind "key" in a line. */
static bool find_flag(struct span line, const char *key, unsigned *ret)
{
	const char *at = memmem(line.at, line.n, key, strlen(key));

	if (!at)
		return false;
	at += strlen(key);
	if (at == line.at + line.n || *at < '0' || *at > '9')
		return false;
	*ret = (unsigned)(*at - '0');
	return true;
}

static int read_ip(struct cpu_lines *cpu, struct span line, bool wide)
{
	unsigned cpl;
	unsigned halted;

	if (!take_number(&line, 16, &cpu->regs.ip) || !find_flag(line, " CPL=", &cpl) || cpl > 3 ||
	    !find_flag(line, " HLT=", &halted))
		return -EBADMSG;
	cpu->has_ip = true;
	cpu->wide = wide;
	cpu->regs.kernel = cpl == 0;
	cpu->regs.halted = halted != 0;
	return 0;
}

/* "CS =f000 000f0000 0000ffff 00009b00 ...": selector, then base. */
static int read_cs(struct cpu_lines *cpu, struct span line)
{
	uint64_t selector;

	if (!take_number(&line, 16, &selector) || !take_prefix(&line, " ") ||
	    !take_number(&line, 16, &cpu->base))
		return -EBADMSG;
	cpu->has_base = true;
	return 0;
}

static int read_line(struct cpu_lines *cpu, struct span line)
{
	if (!cpu->has_ip && take_prefix(&line, "RIP="))
		return read_ip(cpu, line, true);
	if (!cpu->has_ip && take_prefix(&line, "EIP="))
		return read_ip(cpu, line, false);
	if (!cpu->has_base && take_prefix(&line, "CS ="))
		return read_cs(cpu, line);
	return 0;
}

/* The lines of a CPU are over. */
static int finish_cpu(struct cpu_lines *cpu, void (*fn)(void *ctx, const struct registers *regs),
		      void *ctx)
{
	if (!cpu->has_ip)
		return -EOPNOTSUPP;
	if (!cpu->wide)
		cpu->regs.ip = (uint32_t)(cpu->regs.ip + cpu->base);
	fn(ctx, &cpu->regs);
	return 0;
}

static struct span next_line(const char **at, const char *end)
{
	const char *eol = memchr(*at, '\n', (size_t)(end - *at));
	struct span line = {*at, (size_t)((eol ? eol : end) - *at)};

	*at = eol ? eol + 1 : end;
	if (line.n > 0 && line.at[line.n - 1] == '\r')
		line.n--;
	return line;
}

static int begin_cpu(struct cpu_lines *cpu, struct span line, int count)
{
	uint64_t number;

	if (!take_number(&line, 10, &number) || number >= REGISTERS_CPUS_MAX ||
	    count == REGISTERS_CPUS_MAX)
		return -EBADMSG;
	*cpu = (struct cpu_lines){.regs.cpu = (unsigned)number};
	return 0;
}

int registers_parse(const char *text, size_t n, void (*fn)(void *ctx, const struct registers *regs),
		    void *ctx)
{
	const char *end = text + n;
	struct cpu_lines cpu = {0};
	int count = 0; /* begun */
	int r = 0;

	while (text < end && r == 0) {
		struct span line = next_line(&text, end);

		if (take_prefix(&line, "CPU#")) {
			r = count > 0 ? finish_cpu(&cpu, fn, ctx) : 0;
			if (r == 0)
				r = begin_cpu(&cpu, line, count++);
		} else if (count > 0) {
			r = read_line(&cpu, line);
		}
	}
	if (r == 0)
		r = count > 0 ? finish_cpu(&cpu, fn, ctx) : -EBADMSG;
	return r < 0 ? r : count;
}
