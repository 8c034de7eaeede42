#include "profiler/bootwatch.h"

static bool is_booting(const struct bootwatch *w)
{
	return w->low_kernel * 100ULL > w->samples * (uint64_t)BOOTWATCH_PERCENT;
}

/* What boots now is what was noticed. */
static void begin_epoch(struct bootwatch *w, uint32_t epoch)
{
	bool noticed = w->epoch != 0;

	if (noticed)
		*w = (struct bootwatch){.told = true};
	w->epoch = epoch;
}

bool bootwatch_is_new(struct bootwatch *w, uint32_t epoch)
{
	if (w->epoch != epoch)
		begin_epoch(w, epoch);
	return w->samples >= BOOTWATCH_SAMPLES_MIN && !w->told && is_booting(w);
}

void bootwatch_next(struct bootwatch *w, bool told)
{
	bool enough = w->samples >= BOOTWATCH_SAMPLES_MIN;

	if (told)
		w->told = true;
	else if (enough && !is_booting(w))
		w->told = false;
	if (!enough && ++w->looks < BOOTWATCH_LOOKS_MAX)
		return;
	w->samples = 0;
	w->low_kernel = 0;
	w->looks = 0;
}
