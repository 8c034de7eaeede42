#include "symsrc/memory/ram.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "symsrc/base/clock.h"

/* From this size on a read takes longer than the look at the limits. */
#define LARGE_READ (256u << 10)

void ram_init(struct ram *ram, const struct ram_ops *ops, void *ctx,
	      const struct source_limits *limits)
{
	*ram = (struct ram){.ops = ops, .ctx = ctx, .limits = limits, .budget = RAM_BUDGET};
}

static int check_limits(const struct source_limits *limits)
{
	struct pollfd cancel = {.fd = limits->cancel_fd, .events = POLLIN};

	if (limits->cancel_fd >= 0 && poll(&cancel, 1, 0) > 0)
		return -ECANCELED;
	return clock_now_ns() >= limits->deadline_ns ? -ETIMEDOUT : 0;
}

/* Takes the cost of a read of n bytes off the budget, and looks at the clock now and then. */
static int charge(struct ram *ram, size_t n)
{
	uint64_t cost = n > RAM_READ_COST ? n : RAM_READ_COST;

	if (ram->budget < cost)
		return -EOVERFLOW;
	ram->budget -= cost;
	if (ram->limits && (ram->reads++ % RAM_LIMITS_READ == 0 || n >= LARGE_READ))
		return check_limits(ram->limits);
	return 0;
}

int ram_read(struct ram *ram, uint64_t gpa, void *buf, size_t n)
{
	int r = charge(ram, n);

	if (r < 0)
		return r;
	if (gpa + n < gpa)
		return -ENXIO;
	return ram->ops->read(ram->ctx, gpa, buf, n);
}

int ram_read_u64(struct ram *ram, uint64_t gpa, uint64_t *ret)
{
	uint64_t v;
	int r = ram_read(ram, gpa, &v, sizeof(v));

	if (r == 0)
		*ret = v;
	return r;
}

int ram_read_u32(struct ram *ram, uint64_t gpa, uint32_t *ret)
{
	uint32_t v;
	int r = ram_read(ram, gpa, &v, sizeof(v));

	if (r == 0)
		*ret = v;
	return r;
}

/* Checked here once, so that every walk from stretch to stretch gets on. */
int ram_next(struct ram *ram, uint64_t gpa, struct ram_extent *ret)
{
	struct ram_extent e;
	int r = charge(ram, 0);

	if (r == 0)
		r = ram->ops->next(ram->ctx, gpa, &e);
	if (r < 0)
		return r;
	if (e.gpa < gpa || e.len == 0 || e.gpa + e.len < e.gpa)
		return -EIO;
	*ret = e;
	return 0;
}

int ram_use_layout(struct ram *ram, unsigned index)
{
	if (!ram->ops->use_layout)
		return index == 0 ? 0 : -ENOENT;
	return ram->ops->use_layout(ram->ctx, index);
}

int ram_explain(int r, struct errmsg *why)
{
	switch (r) {
	case -ENXIO:
		return errmsg_set(why, r,
				  "the guest's memory: something leads to where it has no RAM");
	case -EBUSY:
		return errmsg_set(why, r,
				  "the guest's memory: what is needed is swapped out on the host; "
				  "it is left there and tried again later");
	case -ESRCH: return errmsg_set(why, r, "the guest's memory: its VMM has ended");
	case -ETIMEDOUT:
		return errmsg_set(why, r, "the guest's memory: not read to the end in time");
	case -ECANCELED: return errmsg_set(why, r, "the guest's memory: reading was cancelled");
	case -EOVERFLOW:
		return errmsg_set(why, r,
				  "the guest's memory: given up after %llu GiB; its tables "
				  "lead in circles",
				  (unsigned long long)(RAM_BUDGET >> 30));
	case -EPERM:
	case -EACCES:
		return errmsg_set(why, r,
				  "the guest's memory: not permitted to read it; CAP_SYS_PTRACE "
				  "is needed");
	case -EFAULT:
		return errmsg_set(why, r,
				  "the guest's memory: something leads to where nothing is mapped");
	default:
		return errmsg_set(why, r, "cannot read the guest's memory: %s",
				  strerrordesc_np(-r));
	}
}
