from short_year import *
def test_a(replayed, platform):
  for a, ds in [("performance_reports/disruption", days(FIRST_TRAINING, END)), ("drift_reports/disruption", days(FIRST_TRAINING, END-timedelta(1)))]:
    for d in ds:
        platform.run([a], d)
    x,y=replayed.rows(a),platform.rows(a)
    print(a, x.equals(y), x.shape,y.shape)
    for c in x.columns:
        if not x[c].equals(y[c]): print(c, [(p,q,r) for p,q,r in zip(x["partition_date"],x[c],y[c]) if q!=r])
